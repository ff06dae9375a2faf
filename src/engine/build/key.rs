//! What a step of a build is known by: a digest over everything that its result depends on. Two steps with the same key have
//! the same result, whichever file or build they are from. Pure.
//!
//! What a step stands on is named by the content of its layers and not by the steps that made them: so a step that has been done
//! again and came to the same does not make those after it be done again.

use serde_json::{Value, json};

use crate::model::Digest;

/// To be changed when the same step would come to something else.
const VERSION: u32 = 1;

/// The key of a step of this kind on these layers (by their chain id), with what it depends on besides.
pub(super) fn of_step(kind: &str, chain: &str, epoch: Option<i64>, facts: Value) -> Digest {
    let all = json!({"version": VERSION, "kind": kind, "on": chain, "epoch": epoch, "facts": facts});
    Digest::of(all.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_matters() {
        let key = of_step("run", "a", None, json!({"argv": ["x"]}));
        assert_eq!(key, of_step("run", "a", None, json!({"argv": ["x"]})));
        for other in [
            of_step("copy", "a", None, json!({"argv": ["x"]})),
            of_step("run", "b", None, json!({"argv": ["x"]})),
            of_step("run", "a", Some(0), json!({"argv": ["x"]})),
            of_step("run", "a", None, json!({"argv": ["y"]})),
        ] {
            assert_ne!(key, other);
        }
    }
}
