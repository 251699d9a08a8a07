//! What a template and its provider say to each other: one packet, one JSON object. The table of all of them is in
//! `docs/processes.md`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::face::ExitReason;
use crate::name::InstanceName;

/// What a template says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// It has initialised. With `into_group`, it has its clones born in the groups that it is given.
    Ready { into_group: bool },
    /// The ordered clone exists, with this pid.
    Forked(u32),
    /// It cannot: before [`Message::Ready`] at all, afterwards what was ordered last.
    Error(String),
    /// A clone has ended.
    Exited(u32, ExitReason),
}

impl Message {
    /// None for everything that is not in the protocol. Unknown fields are left alone.
    pub(super) fn parse(packet: &[u8]) -> Option<Message> {
        let value: Value = serde_json::from_slice(packet).ok()?;
        let pid = |key: &str| value.get(key)?.as_u64().and_then(|pid| u32::try_from(pid).ok());
        if value.get("ready") == Some(&Value::Bool(true)) {
            return Some(Message::Ready { into_group: value.get(INTO_GROUP) == Some(&Value::Bool(true)) });
        }
        if let Some(error) = value.get("error") {
            return Some(Message::Error(error.as_str()?.to_owned()));
        }
        if let Some(pid) = pid("exited") {
            let status = i32::try_from(value.get("status")?.as_i64()?).ok()?;
            let reason =
                if status < 0 { ExitReason::Signal(status.checked_neg()?) } else { ExitReason::Code(status) };
            return Some(Message::Exited(pid, reason));
        }
        pid("forked").map(Message::Forked)
    }
}

/// The order for a clone. `environment` is all of it. With `into_group`, the last descriptor is the folder of its group.
pub(super) fn fork(
    name: &InstanceName,
    ports: &[u16],
    environment: &BTreeMap<String, String>,
    into_group: bool,
) -> String {
    let mut order =
        json!({ "name": name.as_str(), "port": ports.first(), "ports": ports, "env": environment });
    if into_group {
        order[INTO_GROUP] = Value::Bool(true);
    }
    json!({ "fork": order }).to_string()
}

/// Said by a template that can, and in the orders to it where it is to.
const INTO_GROUP: &str = "into_group";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_understood_and_nonsense_is_not() {
        let cases = [
            ("{\"ready\":true}\n", Some(Message::Ready { into_group: false })),
            ("{\"ready\":true,\"into_group\":true}", Some(Message::Ready { into_group: true })),
            ("{\"ready\":true,\"into_group\":1}", Some(Message::Ready { into_group: false })),
            ("{\"forked\":42,\"more\":1}", Some(Message::Forked(42))),
            ("{\"error\":\"no memory\"}", Some(Message::Error("no memory".to_owned()))),
            ("{\"exited\":42,\"status\":3}", Some(Message::Exited(42, ExitReason::Code(3)))),
            ("{\"exited\":42,\"status\":-9}", Some(Message::Exited(42, ExitReason::Signal(9)))),
            ("{\"exited\":42}", None),
            ("{\"exited\":42,\"status\":-2147483648}", None),
            ("{\"forked\":-1}", None),
            ("{\"forked\":4294967296}", None),
            ("{\"ready\":false}", None),
            ("ready", None),
            ("[]", None),
            ("", None),
        ];
        for (packet, message) in cases {
            assert_eq!(Message::parse(packet.as_bytes()), message, "{packet}");
        }
    }

    #[test]
    fn an_order_says_name_ports_and_environment() {
        let environment = [("A".to_owned(), "\"b\"\n".to_owned())].into();
        let mut expected =
            json!({"fork": {"name": "web-3", "port": 4711, "ports": [4711, 4712], "env": {"A": "\"b\"\n"}}});
        for into_group in [false, true] {
            let text = fork(&"web-3".parse().expect("a name"), &[4711, 4712], &environment, into_group);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value, expected);
            assert!(!text.contains('\n'));
            expected["fork"]["into_group"] = json!(true);
        }
    }
}
