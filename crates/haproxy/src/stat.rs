//! The answers to `show info` and `show stat`. Columns are found by their names: every version of HAProxy adds some.

use std::net::SocketAddr;

/// One line of `show stat`: a backend or one of its servers. Counters that a line does not have are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// `pxname`: the backend.
    pub backend: String,
    /// `svname`: the server, or `BACKEND`.
    pub server: String,
    /// `status`, such as `UP`, `DOWN 1/2`, `MAINT`, `DRAIN`, `no check`.
    pub status: String,
    /// `mode`: `http` or `tcp`.
    pub mode: String,
    /// `addr`; none for a backend, a name or a Unix socket.
    pub addr: Option<SocketAddr>,
    /// `uweight`: as it was set, from 0 to 256.
    pub weight: u32,
    /// `scur`: requests (TCP: connections) now.
    pub sessions: u32,
    /// `qcur`: those that wait for a server.
    pub queued: u32,
    /// `stot`: requests so far.
    pub sessions_total: u64,
    /// `bin`: bytes from clients, heads included.
    pub bytes_in: u64,
    /// `bout`: bytes to clients, heads included.
    pub bytes_out: u64,
    /// `econ`: connections that failed.
    pub connect_errors: u64,
    /// `eresp`: responses that broke off.
    pub response_errors: u64,
    /// `wretr`: connections tried again at the same server.
    pub retries: u64,
    /// `wredis`: requests sent to another server after that.
    pub redispatches: u64,
    /// `cli_abrt`: the client went away.
    pub client_aborts: u64,
    /// `hrsp_1xx`, `hrsp_2xx`, `hrsp_3xx`, `hrsp_4xx` and `hrsp_other`: responses that are no failures.
    pub good: u64,
    /// `hrsp_5xx`.
    pub failed: u64,
    /// `qtime`: mean time in the queue, of the last 1024 requests, in milliseconds.
    pub queue_ms: u64,
    /// `ctime`: the same until a connection stood.
    pub connect_ms: u64,
    /// `rtime`: the same until the response's head came; 0 for TCP.
    pub response_ms: u64,
}

/// What `show info` says of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `Pid`.
    pub pid: u32,
    /// `Start_time_sec`: seconds since the Unix epoch; where a version lacks it, 0.
    pub started_at: u64,
    /// `Uptime_sec`.
    pub uptime: u64,
    /// `CurrConns`: open client connections.
    pub connections: u32,
}

/// Why a text is no such answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatError {
    /// The text does not begin as it must; what it says instead.
    #[error("{0}")]
    Other(String),
    /// A column or field is not there.
    #[error("it lacks `{0}`")]
    Lacks(&'static str),
    /// A value is not a number.
    #[error("`{name}` is {value:?}")]
    Value {
        /// The column or field.
        name: &'static str,
        /// What stands there.
        value: String,
    },
    /// A line is shorter than its head says.
    #[error("line {0} breaks off")]
    Short(usize),
}

/// Reads the answer to `show stat`.
///
/// # Errors
/// What is wrong with the first line that cannot be read.
pub fn parse_stat(text: &str) -> Result<Vec<Row>, StatError> {
    let mut lines = text.lines().enumerate();
    let head = lines.next().map(|(_, line)| line).unwrap_or_default();
    let Some(head) = head.strip_prefix("# ") else { return Err(StatError::Other(beginning(text))) };
    let names: Vec<&str> = head.split(',').collect();
    let columns = Columns::find(&names)?;
    let rows = lines.filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(number, line)| columns.row(number + 1, &fields(line))).collect()
}

/// Reads the answer to `show info`.
///
/// # Errors
/// The field that is missing or no number.
pub fn parse_info(text: &str) -> Result<Info, StatError> {
    let find = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(pid) = find("Pid") else { return Err(StatError::Other(beginning(text))) };
    Ok(Info {
        pid: number("Pid", pid)?,
        started_at: number("Start_time_sec", find("Start_time_sec").unwrap_or_default())?,
        uptime: number("Uptime_sec", find("Uptime_sec").ok_or(StatError::Lacks("Uptime_sec"))?)?,
        connections: number("CurrConns", find("CurrConns").unwrap_or_default())?,
    })
}

/// Where the columns are that are read.
struct Columns([usize; NAMES.len()]);

impl Columns {
    fn find(names: &[&str]) -> Result<Columns, StatError> {
        let mut places = [0; NAMES.len()];
        for (place, wanted) in places.iter_mut().zip(NAMES) {
            *place = names.iter().position(|name| *name == wanted).ok_or(StatError::Lacks(wanted))?;
        }
        Ok(Columns(places))
    }

    fn row(&self, line: usize, fields: &[String]) -> Result<Row, StatError> {
        let mut values = [""; NAMES.len()];
        for (value, place) in values.iter_mut().zip(self.0) {
            *value = fields.get(place).ok_or(StatError::Short(line))?;
        }
        let [backend, server, status, mode, addr, numbers @ ..] = values;
        let mut counts = [0; COUNTS];
        for ((count, value), name) in counts.iter_mut().zip(numbers).zip(&NAMES[NAMES.len() - COUNTS..]) {
            *count = number(name, value)?;
        }
        let [weight, sessions, queued, stot, bin, bout, econ, eresp, wretr, wredis, cli_abrt, rest @ ..] =
            counts;
        let [r1, r2, r3, r4, other, failed, qtime, ctime, rtime] = rest;
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Row {
            backend: backend.to_owned(),
            server: server.to_owned(),
            status: status.to_owned(),
            mode: mode.to_owned(),
            addr: addr.parse().ok(),
            weight: small(weight),
            sessions: small(sessions),
            queued: small(queued),
            sessions_total: stot,
            bytes_in: bin,
            bytes_out: bout,
            connect_errors: econ,
            response_errors: eresp,
            retries: wretr,
            redispatches: wredis,
            client_aborts: cli_abrt,
            good: [r1, r2, r3, r4, other].into_iter().fold(0, u64::saturating_add),
            failed,
            queue_ms: qtime,
            connect_ms: ctime,
            response_ms: rtime,
        })
    }
}

/// A number; nothing counts as 0.
fn number<T: std::str::FromStr + Default>(name: &'static str, value: &str) -> Result<T, StatError> {
    if value.is_empty() {
        return Ok(T::default());
    }
    value.parse().map_err(|_| StatError::Value { name, value: value.chars().take(SAID_MAX).collect() })
}

/// The fields of a line of CSV; a field in quotation marks may contain commas, and doubled marks.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// The beginning of what was said, in one line.
pub(crate) fn beginning(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SAID_MAX).collect()
}

/// Columns that are read: texts, then numbers in the order of [`Columns::row`].
const NAMES: [&str; 25] = [
    "pxname",
    "svname",
    "status",
    "mode",
    "addr",
    "uweight",
    "scur",
    "qcur",
    "stot",
    "bin",
    "bout",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "cli_abrt",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_other",
    "hrsp_5xx",
    "qtime",
    "ctime",
    "rtime",
];
const COUNTS: usize = NAMES.len() - 5;
/// Characters of an answer that are repeated.
const SAID_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A head like HAProxy's, with a column that is not read in front and one behind.
    fn text(rows: &[[&str; 25]]) -> String {
        let mut text = format!("# new,{},-,\n", NAMES.join(","));
        for row in rows {
            let row: Vec<String> =
                row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            text += &format!("x,{},,\n", row.join(","));
        }
        text + "\n"
    }

    fn row() -> [&'static str; 25] {
        [
            "web",
            "foreshadow-7",
            "UP",
            "http",
            "127.0.0.1:9000",
            "256",
            "3",
            "1",
            "120",
            "9",
            "8",
            "2",
            "1",
            "4",
            "5",
            "6",
            "0",
            "90",
            "1",
            "20",
            "0",
            "9",
            "2",
            "3",
            "40",
        ]
    }

    #[test]
    fn columns_are_found_by_name() {
        let rows = parse_stat(&text(&[row()])).expect("readable");
        let row = &rows[0];
        assert_eq!((row.server.as_str(), row.addr), ("foreshadow-7", "127.0.0.1:9000".parse().ok()));
        assert_eq!((row.weight, row.sessions, row.queued, row.sessions_total), (256, 3, 1, 120));
        assert_eq!((row.good, row.failed), (111, 9));
        assert_eq!((row.connect_errors, row.response_errors, row.retries, row.redispatches), (2, 1, 4, 5));
        assert_eq!((row.queue_ms, row.connect_ms, row.response_ms), (2, 3, 40));
    }

    #[test]
    fn what_haproxy_says_instead_is_the_error() {
        assert_eq!(parse_stat("No such proxy.\n\n"), Err(StatError::Other("No such proxy.".into())));
        assert_eq!(parse_stat("# pxname,svname\n"), Err(StatError::Lacks("status")));
        assert_eq!(parse_stat(&format!("# {}\nweb,x\n", NAMES.join(","))), Err(StatError::Short(2)));
        let mut wrong = row();
        wrong[8] = "many";
        let error = StatError::Value { name: "stot", value: "many".into() };
        assert_eq!(parse_stat(&text(&[wrong])), Err(error));
    }

    #[test]
    fn the_process_is_known_by_its_pid_and_start() {
        let info = parse_info("Name: HAProxy\nPid: 7\nUptime_sec: 5\nCurrConns: 2\nStart_time_sec: 99\n");
        assert_eq!(info, Ok(Info { pid: 7, started_at: 99, uptime: 5, connections: 2 }));
        assert_eq!(parse_info("Permission denied\n"), Err(StatError::Other("Permission denied".into())));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", lines in prop::collection::vec("[-#,\"a-z0-9 \\n]{0,200}", 0..5)) {
            let _ = parse_stat(&text);
            let _ = parse_info(&text);
            let _ = parse_stat(&format!("# {}\n{}", NAMES.join(","), lines.join("\n")));
            let _ = parse_info(&format!("Pid: 1\n{}", lines.join("\n")));
        }

        #[test]
        fn a_damaged_answer_never_panics(at in 0usize..1000, with in any::<char>(), cut in 0usize..1000) {
            let mut characters: Vec<char> = text(&[row(), row()]).chars().collect();
            let count = characters.len();
            characters[at % count] = with;
            characters.truncate(cut % count);
            let _ = parse_stat(&characters.into_iter().collect::<String>());
        }

        #[test]
        fn every_field_comes_back(name in "[^\\n\\r]{0,30}", count in any::<u64>()) {
            let count = count.to_string();
            let mut written = row();
            (written[2], written[8]) = (&name, &count);
            let read = parse_stat(&text(&[written])).expect("readable");
            prop_assert_eq!(&read[0].status, &name);
            prop_assert_eq!(read[0].sessions_total.to_string(), count);
        }
    }
}
