//! How the time to plan a container grows with each list in config.json. Each row doubles the length of one list three
//! times, times `runtime run --dry-run`, and prints the last ratio: about 2 for a list that takes linear time, 4 for
//! one that takes quadratic time.
//!
//! usage: cargo bench -p runtime-benches --bench growth [-- NAME ...]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

const LENGTHS: [usize; 4] = [5_000, 10_000, 20_000, 40_000];

/// A name, and the parts of config.json that hold a list of `n` entries: `process`, `linux`, the top level.
type Row = (&'static str, fn(usize) -> [String; 3]);

const ROWS: [Row; 23] = [
    ("env", |n| {
        process("env", list(n, |i| format!("\"V{i}=x\"")))
    }),
    ("args", |n| {
        process("args", list(n, |i| format!("\"/{i}\"")))
    }),
    ("rlimits", |n| {
        process("rlimits", list(n, |_| RLIMIT.into()))
    }),
    ("gids", |n| {
        let gids = list(n, |i| i.to_string());
        process(
            "user",
            format!("{{\"uid\": 0, \"gid\": 0, \"additionalGids\": {gids}}}"),
        )
    }),
    ("capabilities", |n| {
        let names = list(n, |i| format!("\"CAP_{i}\""));
        process("capabilities", format!("{{\"bounding\": {names}}}"))
    }),
    ("mounts", |n| top("mounts", list(n, |i| mount(i, "\"ro\"")))),
    ("mount options", |n| {
        let options = list(n, |i| format!("\"k{i}=1\""));
        top(
            "mounts",
            format!("[{}]", mount(0, &options[1..options.len() - 1])),
        )
    }),
    ("annotations", |n| {
        top("annotations", map(n, |i| (format!("a{i}"), "\"x\"".into())))
    }),
    ("hooks", |n| {
        let hooks = list(n, |_| "{\"path\": \"/bin/true\"}".into());
        top("hooks", format!("{{\"prestart\": {hooks}}}"))
    }),
    ("masked paths", |n| {
        linux("maskedPaths", list(n, |i| format!("\"/m{i}\"")))
    }),
    ("read-only paths", |n| {
        linux("readonlyPaths", list(n, |i| format!("\"/m{i}\"")))
    }),
    ("sysctl", |n| {
        linux("sysctl", map(n, |i| (format!("net.a{i}"), "\"1\"".into())))
    }),
    ("devices", |n| {
        linux(
            "devices",
            list(n, |i| {
                format!("{{\"path\": \"/dev/d{i}\", \"type\": \"c\", \"major\": 1, \"minor\": 3}}")
            }),
        )
    }),
    // At most 10,000 are taken.
    ("device rules, a quarter", |n| {
        let rules = list(n / 4, |i| {
            let allow = i % 2 == 0;
            format!(
                "{{\"allow\": {allow}, \"type\": \"c\", \"major\": {i}, \"minor\": {i}, \"access\": \"rw\"}}"
            )
        });
        linux("resources", format!("{{\"devices\": {rules}}}"))
    }),
    ("huge pages", |n| {
        let limits = list(n, |i| format!("{{\"pageSize\": \"2MB\", \"limit\": {i}}}"));
        linux("resources", format!("{{\"hugepageLimits\": {limits}}}"))
    }),
    ("throttled devices", |n| {
        let devices = list(n, |i| {
            format!("{{\"major\": 8, \"minor\": {i}, \"rate\": 5}}")
        });
        linux(
            "resources",
            format!("{{\"blockIO\": {{\"throttleReadBpsDevice\": {devices}}}}}"),
        )
    }),
    ("seccomp names", |n| {
        seccomp(&rule(&list(n, |_| "\"read\"".into()), "[]"))
    }),
    ("seccomp unknown names", |n| {
        seccomp(&rule(&list(n, |i| format!("\"x{i}\"")), "[]"))
    }),
    ("seccomp rules", |n| {
        let rules = list(n, |_| rule("[\"read\"]", "[]"));
        seccomp(&rules[1..rules.len() - 1])
    }),
    ("seccomp values", |n| {
        let rules = list(n, |i| rule("[\"read\"]", &condition(2 * (n - i), "EQ")));
        seccomp(&rules[1..rules.len() - 1])
    }),
    ("seccomp masks", |n| {
        let rules = list(n, |i| rule("[\"read\"]", &condition(i, "MASKED_EQ")));
        seccomp(&rules[1..rules.len() - 1])
    }),
    ("seccomp names, values", |n| {
        let values = list(n / 2, |i| condition(2 * i, "EQ")[1..].replace(']', ""));
        seccomp(&rule(&list(n / 2, |_| "\"read\"".into()), &values))
    }),
    ("unknown fields", |n| {
        let fields = map(n, |i| (format!("u{i}"), "1".into()));
        top("unknown", fields)
    }),
];

const RLIMIT: &str = "{\"type\": \"RLIMIT_CORE\", \"soft\": 0, \"hard\": 0}";

fn list(n: usize, entry: impl Fn(usize) -> String) -> String {
    let entries: Vec<String> = (0..n).map(entry).collect();
    format!("[{}]", entries.join(", "))
}

fn map(n: usize, entry: impl Fn(usize) -> (String, String)) -> String {
    let mut text = String::new();
    for (key, value) in (0..n).map(entry) {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}\"{key}\": {value}");
    }
    format!("{{{text}}}")
}

fn process(key: &str, value: String) -> [String; 3] {
    [
        format!(", \"{key}\": {value}"),
        String::new(),
        String::new(),
    ]
}

fn linux(key: &str, value: String) -> [String; 3] {
    [
        String::new(),
        format!(", \"{key}\": {value}"),
        String::new(),
    ]
}

fn top(key: &str, value: String) -> [String; 3] {
    [
        String::new(),
        String::new(),
        format!(", \"{key}\": {value}"),
    ]
}

fn mount(n: usize, options: &str) -> String {
    format!(
        "{{\"destination\": \"/m{n}\", \"type\": \"tmpfs\", \"source\": \"t\", \"options\": [{options}]}}"
    )
}

fn seccomp(rules: &str) -> [String; 3] {
    let profile = format!("{{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{rules}]}}");
    linux("seccomp", profile)
}

fn rule(names: &str, args: &str) -> String {
    format!("{{\"names\": {names}, \"action\": \"SCMP_ACT_ALLOW\", \"args\": {args}}}")
}

fn condition(value: usize, op: &str) -> String {
    format!("[{{\"index\": 0, \"value\": {value}, \"valueTwo\": 1, \"op\": \"SCMP_CMP_{op}\"}}]")
}

/// What every config holds; a list of the same name comes later in the file and counts.
fn config([process, linux, top]: &[String; 3]) -> String {
    let args = if process.contains("\"args\"") {
        ""
    } else {
        ", \"args\": [\"/x\"]"
    };
    format!(
        "{{\"ociVersion\": \"1.2.0\", \"root\": {{\"path\": \"rootfs\"}}, \
         \"process\": {{\"cwd\": \"/\"{args}{process}}}, \
         \"linux\": {{\"namespaces\": [{{\"type\": \"mount\"}}, {{\"type\": \"network\"}}]{linux}}}{top}}}"
    )
}

fn dry_run(runtime: &Path, bundle: &Path, config: &str) -> io::Result<Duration> {
    fs::write(bundle.join("config.json"), config)?;
    let mut command = Command::new(runtime);
    let flags = ["run", "--dry-run", "--bundle"];
    command
        .arg("--root")
        .arg(bundle)
        .args(flags)
        .arg(bundle)
        .arg("growth");
    let start = Instant::now();
    // A plan that is refused at its end, such as a filter that is too long, takes as long.
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(start.elapsed())
}

fn main() -> io::Result<()> {
    let names: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let runtime = runtime_benches::default_runtime();
    let bundle: PathBuf = env::temp_dir().join(format!("runtime-growth-{}", std::process::id()));
    fs::create_dir_all(bundle.join("rootfs"))?;
    println!(
        "{:24}{}  last ratio",
        "entries",
        LENGTHS.map(|n| format!("{n:>10}")).concat()
    );
    for (name, row) in ROWS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut times = Vec::new();
        for n in LENGTHS {
            times.push(dry_run(&runtime, &bundle, &config(&row(n)))?.as_secs_f64() * 1e3);
        }
        let text: String = times.iter().map(|ms| format!("{ms:>7.1} ms")).collect();
        println!("{name:24}{text}  {:.1}", times[3] / times[2]);
    }
    fs::remove_dir_all(&bundle)
}
