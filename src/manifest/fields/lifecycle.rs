//! The fields of a container's life: what it waits for, how many there are, when it starts again, and what is run at its start
//! and before its end.

use super::{CPUS, Form, NAME, PAIRS, REFERENCE, RESERVATIONS, SIZE, SPAN, Table, WORDS, field, required};
use crate::model::spec::{Condition, Ratio};

pub(in crate::manifest) static HOOK: Table = Table {
    what: "a hook",
    fields: &[
        required("command", WORDS, "What is run in the container"),
        field("user", Form::Word, "user[:group], by name or number; the container's unless given"),
        field("privileged", Form::Bool, "With all capabilities"),
        field("working_dir", Form::Text, "The folder that it starts in; the container's unless given"),
        field("environment", PAIRS, "Variables beside the container's"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static PRE_START: Table = Table {
    what: "a step before the start",
    fields: &[
        field("command", WORDS, "What is run; the image's command unless given"),
        field("image", REFERENCE, "What it is run in; the container's own image unless given"),
        field("user", Form::Word, "user[:group], by name or number"),
        field("privileged", Form::Bool, "With all capabilities and devices"),
        field("working_dir", Form::Text, "The folder that it starts in"),
        field("environment", PAIRS, "Variables beside the container's"),
        field("per_replica", Form::Bool, "false: it is run once for all"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static DEPENDENCY: Table = Table {
    what: "`depends_on`",
    fields: &[
        field("condition", Form::Of(|g| g.subschema_for::<Condition>()), "`service_started` unless given"),
        field("required", Form::Bool, "Whether it must be there and of an active profile; true unless given"),
        field("restart", Form::Bool, "This one starts again whenever that one has; false unless given"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static CONTAINER_EXTENSION: Table = Table {
    what: "`x-setpoint` of a container",
    fields: &[field(
        "depends_on",
        Form::Either(&[Form::List(&Form::Text), Form::Map(&Form::Object(&DEPENDENCY))]),
        "Containers that must be there before: STACK/NAME of another stack, too",
    )],
    unsupported: &[],
};

pub(in crate::manifest) static DEPLOY: Table = Table {
    what: "`deploy`",
    fields: &[
        field("resources", Form::Object(&RESOURCES), "What it may use"),
        field("mode", Form::Choice(&["replicated", "global"]), "There is one host, so both are the same"),
        field("replicas", Form::Integer, "How many there are: NAME, NAME-2, NAME-3 and so on, which all answer to NAME"),
        field("restart_policy", Form::Object(&RESTART), "When it is started again; `restart` counts more"),
        field("update_config", Form::Object(&UPDATE), "How it is replaced; of several all at once unless given"),
        field("rollback_config", Form::Object(&ROLLBACK), "How it becomes what it was; as it is replaced unless given"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static UPDATE: Table = Table {
    what: "`update_config`",
    fields: &[
        field("parallelism", Form::Integer, "How many at a time; 0 is all"),
        field("order", ORDER, ORDER_ABOUT),
        field("delay", SPAN, DELAY_ABOUT),
        field("monitor", SPAN, MONITOR_ABOUT),
        field("failure_action", Form::Choice(&["pause", "continue", "rollback"]), FAILURE_ABOUT),
        field("max_failure_ratio", RATIO, RATIO_ABOUT),
        field("group", NAME, "Containers whose failures are counted together; those of one service unless given"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static ROLLBACK: Table = Table {
    what: "`rollback_config`",
    fields: &[
        field("parallelism", Form::Integer, "How many at a time; 0 is all"),
        field("order", ORDER, ORDER_ABOUT),
        field("delay", SPAN, DELAY_ABOUT),
        field("monitor", SPAN, MONITOR_ABOUT),
        field("failure_action", Form::Choice(&["pause", "continue"]), FAILURE_ABOUT),
        field("max_failure_ratio", RATIO, RATIO_ABOUT),
        field("group", NAME, "Containers whose failures are counted together; those of one service unless given"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static STACK_UPDATE: Table = Table {
    what: "`update`",
    fields: &[
        field("delay", SPAN, DELAY_ABOUT),
        field("monitor", SPAN, MONITOR_ABOUT),
        field("failure_action", Form::Choice(&["pause", "continue", "rollback"]), FAILURE_ABOUT),
        field("max_failure_ratio", RATIO, RATIO_ABOUT),
    ],
    unsupported: &[
        ("order", "it is each container's own: write it in its `deploy.update_config`"),
        ("parallelism", "it is each container's own: write it in its `deploy.update_config`"),
    ],
};

const ORDER: Form = Form::Choice(&["stop-first", "start-first"]);
const ORDER_ABOUT: &str = "start-first: the new one is there and well before the old one goes; stop-first unless given";
const DELAY_ABOUT: &str = "How long it is waited before the next one is replaced";
const MONITOR_ABOUT: &str = "How long it must live and be well; 5s where `failure_action` is given, else 0s";
const FAILURE_ABOUT: &str = "pause (unless given): those that come after stay as they are; continue: nothing is done; \
     rollback: the stack becomes what it was, and stays so until its manifests change";
const RATIO_ABOUT: &str = "How large a share may fail; 0 unless given";
const RATIO: Form = Form::Either(&[
    Form::Of(|g| g.subschema_for::<Ratio>()),
    Form::Of(|_| schemars::json_schema!({"type": "number", "minimum": 0, "maximum": 1})),
]);

pub(in crate::manifest) static RESTART: Table = Table {
    what: "`restart_policy`",
    fields: &[
        field("condition", Form::Choice(&["none", "on-failure", "any"]), "`any` unless given"),
        field("max_attempts", Form::Integer, "How often, of `on-failure`"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static RESOURCES: Table = Table {
    what: "`resources`",
    fields: &[
        field("limits", Form::Object(&LIMITS), "What it may use at most"),
        field("reservations", Form::Object(&RESERVATIONS), "What it is to have when others want it too"),
    ],
    unsupported: &[],
};

pub(in crate::manifest) static LIMITS: Table = Table {
    what: "`limits`",
    fields: &[
        field("cpus", CPUS, "Most processors"),
        field("memory", SIZE, "Most memory"),
        field("pids", Form::Integer, "Most processes: 2048 by default, -1 for any number"),
    ],
    unsupported: &[("devices", "remove it")],
};

pub(in crate::manifest) static ULIMIT: Table = Table {
    what: "a ulimit",
    fields: &[
        required("soft", Form::Integer, "The limit; -1 is none"),
        required("hard", Form::Integer, "What the container may raise it to; -1 is none"),
    ],
    unsupported: &[],
};
