//! A container as a manifest's fields, in the order in which people look for them.

use std::collections::BTreeMap;

use crate::manifest::desired::Placed;
use crate::model::spec::{
    Beyond, Condition, ContainerSpec, Dependency, DeviceRate, DeviceWeight, FailureAction, Healthcheck, Hook, Logging,
    NamespaceMode, NetworkMode, OnUnhealthy, Order, Probe, Ratio, ResourceLimits, Seccomp, Security, Startup, Ulimit, Update,
    UsersMode,
};
use crate::model::{Name, RestartPolicy, Span};

use super::yaml::Yaml;
use super::{Fields, PrintError, Printer, is_plain};

impl Printer<'_> {
    pub(super) fn container(&self, name: &Name, placed: &Placed<ContainerSpec>) -> Result<Vec<(String, Yaml)>, PrintError> {
        let spec = &placed.spec;
        let mut fields = Fields::default();
        fields.put("image", Yaml::text(&spec.image));
        if self.desired.stack.join(name).ok().as_ref() != Some(&placed.engine_name) {
            fields.put("container_name", Yaml::text(&placed.engine_name));
        }
        for (field, words) in [("entrypoint", &spec.entrypoint), ("command", &spec.command)] {
            if let Some(words) = words {
                fields.put(field, Yaml::texts(words));
            }
        }
        fields.pairs("environment", &spec.environment);
        fields.some("working_dir", spec.working_dir.as_ref());
        fields.some("user", spec.user.as_ref());
        fields.texts("group_add", &spec.group_add);
        self.mounts(&mut fields, &spec.mounts)?;
        fields.texts(
            "volumes_from",
            spec.volumes_from.iter().map(|from| {
                let other = match self.service(&from.container) {
                    Some(service) => service.to_string(),
                    None => format!("container:{}", from.container),
                };
                if from.read_only { format!("{other}:ro") } else { other }
            }),
        );
        self.reach(&mut fields, spec);
        fields.texts("profiles", self.origins.profiles.get(name).into_iter().flatten());
        self.dependencies(&mut fields, name, spec);
        fields.some("update_after", spec.update_after.as_ref());
        fields.some("rollback_after", spec.rollback_after.as_ref());
        let mut deploy = Fields::default();
        deploy.map("update_config", update(&spec.update_config));
        if let Some(back) = &spec.rollback_config {
            deploy.put("rollback_config", update(back));
        }
        fields.map("deploy", Yaml::Map(deploy.0));
        fields.map("post_start", hooks(&spec.post_start));
        fields.map("pre_stop", hooks(&spec.pre_stop));
        if let Some(check) = &spec.healthcheck {
            fields.put("healthcheck", healthcheck(check));
        }
        fields.some("restart", Some(spec.restart).filter(|restart| *restart != RestartPolicy::No));
        fields.some("stop_signal", spec.stop_signal);
        fields.some("stop_grace_period", differs(spec.stop_grace_period, ContainerSpec::DEFAULT_GRACE));
        fields.when("tty", spec.tty);
        fields.when("stdin_open", spec.stdin_open);
        fields.when("stdin_once", spec.stdin_once);
        fields.when("init", spec.init);
        logging(&mut fields, &spec.logging);
        limits(&mut fields, &spec.limits);
        self.confinement(&mut fields, spec);
        fields.pairs("labels", &spec.labels);
        fields.pairs("annotations", &spec.annotations);
        Ok(fields.0)
    }

    /// Networks, names and ports.
    fn reach(&self, fields: &mut Fields, spec: &ContainerSpec) {
        match &spec.network_mode {
            NetworkMode::Bridge => {}
            mode => fields.put("network_mode", Yaml::text(self.of_service(mode.to_string()))),
        }
        let networks: Vec<(Name, Yaml)> = spec
            .networks
            .iter()
            .map(|(engine_name, attachment)| {
                let mut inner = Fields::default();
                inner.texts("aliases", &attachment.aliases);
                inner.some("ipv4_address", attachment.ipv4_address);
                inner.some("ipv6_address", attachment.ipv6_address);
                inner.number("gw_priority", differs(attachment.gw_priority, 0));
                inner.some("interface_name", attachment.interface_name.as_ref());
                (self.network_name(engine_name), Yaml::Map(inner.0))
            })
            .collect();
        let plain = spec.networks.values().all(is_plain);
        match networks.as_slice() {
            // Where it would be anyway.
            [(name, _)] if plain && name.as_str() == crate::manifest::resolve::DEFAULT_NETWORK => {}
            networks if plain => fields.texts("networks", networks.iter().map(|(name, _)| name)),
            _ => fields.map("networks", Yaml::Map(networks.into_iter().map(|(name, inner)| (name.to_string(), inner)).collect())),
        }
        fields.some("hostname", spec.hostname.as_ref());
        fields.some("domainname", spec.domainname.as_ref());
        fields.some("mac_address", spec.mac_address);
        fields.texts("ports", &spec.ports);
        fields.texts("expose", &spec.expose);
        fields.when("publish_all", spec.publish_all);
        fields.texts("external_links", spec.external_links.iter().map(|(alias, name)| format!("{name}:{alias}")));
        fields.pairs("extra_hosts", &spec.extra_hosts);
        fields.texts("dns", &spec.dns);
        fields.texts("dns_search", &spec.dns_search);
        fields.texts("dns_opt", &spec.dns_opt);
    }

    fn dependencies(&self, fields: &mut Fields, name: &Name, spec: &ContainerSpec) {
        let optional = self.origins.optional.get(name);
        let is_optional = |other: &Name| optional.is_some_and(|optional| optional.contains(other));
        let beside = spec.depends_on.iter().map(|(other, Dependency { condition, restart })| {
            (other.to_string(), Beyond { condition: *condition, restart: *restart, optional: is_optional(other) })
        });
        let beyond = spec.depends_beyond.iter().map(|(other, beyond)| (other.to_string(), *beyond));
        let all: BTreeMap<String, Beyond> = beside.chain(beyond).collect();
        if all.values().all(|dependency| *dependency == Beyond::default()) {
            return fields.texts("depends_on", all.keys());
        }
        let all = all.into_iter().map(|(other, dependency)| {
            let mut inner = Fields::default();
            inner.put(
                "condition",
                Yaml::text(match dependency.condition {
                    Condition::ServiceStarted => "service_started",
                    Condition::ServiceHealthy => "service_healthy",
                    Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
                }),
            );
            inner.when("restart", dependency.restart);
            if dependency.optional {
                inner.put("required", Yaml::Bool(false));
            }
            (other, Yaml::Map(inner.0))
        });
        fields.map("depends_on", Yaml::Map(all.collect()));
    }

    fn confinement(&self, fields: &mut Fields, spec: &ContainerSpec) {
        fields.when("privileged", spec.privileged);
        fields.texts("cap_add", spec.cap_add.iter().map(|name| name.trim_start_matches("CAP_")));
        fields.texts("cap_drop", spec.cap_drop.iter().map(|name| name.trim_start_matches("CAP_")));
        fields.texts("security_opt", security(&spec.security_opt));
        fields.when("read_only", spec.read_only);
        for (name, mode) in [("pid", &spec.pid), ("uts", &spec.uts), ("cgroup", &spec.cgroup)] {
            if *mode != NamespaceMode::Private {
                fields.put(name, Yaml::text(self.of_service(mode.to_string())));
            }
        }
        fields.some("ipc", differs(spec.ipc.clone(), Default::default()).map(|mode| self.of_service(mode.to_string())));
        fields.some("cgroup_parent", spec.cgroup_parent.as_ref());
        fields.some("userns_mode", differs(spec.userns, UsersMode::Host));
        fields.some("shm_size", spec.shm_size);
        fields.texts("devices", &spec.devices);
        fields.texts("device_cgroup_rules", &spec.device_cgroup_rules);
        fields.pairs("sysctls", &spec.sysctls);
        fields.map("ulimits", ulimits(&spec.ulimits));
        fields.number("oom_score_adj", spec.oom_score_adj);
    }

    /// `container:NAME` of a container of the stack as `service:NAME`.
    fn of_service(&self, mode: String) -> String {
        match mode.strip_prefix("container:").and_then(|other| self.service(other)) {
            Some(service) => format!("service:{service}"),
            None => mode,
        }
    }
}

fn differs<T: PartialEq>(value: T, usual: T) -> Option<T> {
    (value != usual).then_some(value)
}

fn hooks(hooks: &[Hook]) -> Yaml {
    let hook = |hook: &Hook| {
        let mut fields = Fields::default();
        fields.put("command", Yaml::texts(&hook.command));
        fields.some("user", hook.user.as_ref());
        fields.when("privileged", hook.privileged);
        fields.some("working_dir", hook.working_dir.as_ref());
        fields.pairs("environment", &hook.environment);
        Yaml::Map(fields.0)
    };
    Yaml::List(hooks.iter().map(hook).collect())
}

fn healthcheck(check: &Healthcheck) -> Yaml {
    let mut fields = Fields::default();
    probe(&mut fields, &check.test);
    for (name, span, usual) in [
        ("interval", check.interval, Healthcheck::INTERVAL),
        ("timeout", check.timeout, Healthcheck::TIMEOUT),
        ("start_period", check.start_period, Span::default()),
        ("start_interval", check.start_interval, Healthcheck::START_INTERVAL),
    ] {
        fields.some(name, differs(span, usual));
    }
    fields.number("retries", differs(check.retries, Healthcheck::RETRIES));
    if check.on_unhealthy == OnUnhealthy::Restart {
        fields.put("on_unhealthy", Yaml::text("restart"));
    }
    if let Some(startup) = &check.startup {
        let mut inner = Fields::default();
        probe(&mut inner, &startup.test);
        inner.some("interval", differs(startup.interval, Startup::INTERVAL));
        inner.some("timeout", differs(startup.timeout, Healthcheck::TIMEOUT));
        inner.number("retries", differs(startup.retries, Startup::RETRIES));
        fields.put("startup", Yaml::Map(inner.0));
    }
    Yaml::Map(fields.0)
}

fn probe(fields: &mut Fields, probe: &Probe) {
    match probe {
        Probe::None => fields.put("test", Yaml::texts(["NONE"])),
        Probe::Command(words) => fields.put("test", Yaml::texts(std::iter::once("CMD").chain(words.iter().map(String::as_str)))),
        Probe::Shell(line) => fields.put("test", Yaml::texts(["CMD-SHELL", line])),
        Probe::Http(target) => fields.put("http", Yaml::text(target)),
        Probe::Tcp(target) => fields.put("tcp", Yaml::text(target)),
    }
}

fn logging(fields: &mut Fields, logging: &Logging) {
    if *logging == Logging::default() {
        return;
    }
    let mut options = Fields::default();
    options.some("max-size", logging.max_size);
    options.some("max-file", logging.max_file);
    options.some("tag", logging.tag.as_ref());
    if !logging.labels.is_empty() {
        options.put("labels", Yaml::text(logging.labels.iter().cloned().collect::<Vec<_>>().join(",")));
    }
    let mut inner = Fields::default();
    inner.put("driver", Yaml::text(logging.driver));
    inner.map("options", Yaml::Map(options.0));
    fields.put("logging", Yaml::Map(inner.0));
}

/// How it is replaced. Whoever says what a failure does says for how long it is watched, too.
fn update(update: &Update) -> Yaml {
    let mut fields = Fields::default();
    fields.some("order", differs(update.order, Order::default()).map(Order::as_str));
    fields.some("delay", differs(update.delay, Span::default()));
    let action = differs(update.failure_action, FailureAction::default());
    fields.some("monitor", Some(update.monitor).filter(|monitor| action.is_some() || *monitor != Span::default()));
    fields.some("failure_action", action.map(FailureAction::as_str));
    fields.some("max_failure_ratio", differs(update.max_failure_ratio, Ratio::default()));
    fields.some("group", update.group.as_ref());
    Yaml::Map(fields.0)
}

fn limits(fields: &mut Fields, limits: &ResourceLimits) {
    fields.some("mem_limit", limits.memory);
    fields.some("mem_reservation", limits.memory_reservation);
    fields.some("memswap_limit", limits.memory_swap);
    fields.when("oom_kill_disable", limits.oom_kill_disable);
    fields.some("cpus", limits.cpus);
    let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    fields.number("cpu_quota", number(limits.cpu_quota));
    fields.number("cpu_period", number(limits.cpu_period));
    fields.number("cpu_shares", number(limits.cpu_shares));
    fields.some("cpuset", limits.cpuset_cpus.as_ref());
    fields.some("cpuset_mems", limits.cpuset_mems.as_ref());
    fields.number("pids_limit", limits.pids.map(|pids| if pids == ResourceLimits::ANY_PIDS { -1 } else { i64::from(pids) }));
    let mut blkio = Fields::default();
    blkio.number("weight", limits.blkio_weight);
    let weight = |one: &DeviceWeight| Yaml::pairs([("path", one.path.clone()), ("weight", one.weight.to_string())]);
    blkio.map("weight_device", Yaml::List(limits.blkio_weight_device.iter().map(weight).collect()));
    for (name, rates) in [
        ("device_read_bps", &limits.device_read_bps),
        ("device_write_bps", &limits.device_write_bps),
        ("device_read_iops", &limits.device_read_iops),
        ("device_write_iops", &limits.device_write_iops),
    ] {
        let rate = |rate: &DeviceRate| Yaml::pairs([("path", rate.path.clone()), ("rate", rate.rate.to_string())]);
        blkio.map(name, Yaml::List(rates.iter().map(rate).collect()));
    }
    fields.map("blkio_config", Yaml::Map(blkio.0));
}

fn security(security: &Security) -> Vec<String> {
    let Security { no_new_privileges, seccomp, apparmor, label, unconfined_paths, unconfined_sockets } = security;
    let mut all = Vec::new();
    all.extend(no_new_privileges.map(|value| format!("no-new-privileges:{value}")));
    match seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => all.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(profile) => all.push(format!("seccomp={profile}")),
    }
    all.extend(apparmor.iter().map(|profile| format!("apparmor={profile}")));
    all.extend(label.iter().map(|label| format!("label={label}")));
    all.extend(unconfined_paths.then(|| "systempaths=unconfined".to_owned()));
    all.extend(unconfined_sockets.then(|| "sockets=unconfined".to_owned()));
    all
}

pub(super) fn ulimits(all: &BTreeMap<String, Ulimit>) -> Yaml {
    // What is unlimited is the largest number, which is more than a signed one can be.
    let number = |value: u64| Yaml::Integer(i64::try_from(value).unwrap_or(-1));
    let one = |(name, limit): (&String, &Ulimit)| {
        let value = match limit.soft == limit.hard {
            true => number(limit.soft),
            false => Yaml::Map(vec![("soft".to_owned(), number(limit.soft)), ("hard".to_owned(), number(limit.hard))]),
        };
        (name.clone(), value)
    };
    Yaml::Map(all.iter().map(one).collect())
}
