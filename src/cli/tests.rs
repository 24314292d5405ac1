//! Tests of the command line: every flag in each of its spellings, operands, the text of errors and of help.

use super::*;
use alloc::string::ToString;

fn command<'a>(args: &[&'a str]) -> Command<'a> {
    match parse(args, &mut Globals::default()) {
        Ok(Request::Run(command)) => *command,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn globals<'a>(args: &[&'a str]) -> Globals<'a> {
    let mut globals = Globals::default();
    let mut args = args.to_vec();
    args.push("features");
    parse(&args, &mut globals).expect("a command line");
    globals
}

fn error(args: &[&str]) -> String {
    let result = parse(args, &mut Globals::default());
    result.expect_err("an error").to_string()
}

fn help(args: &[&str]) -> String {
    match parse(args, &mut Globals::default()) {
        Ok(Request::Help(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// Tests that each of these command lines sets one field, and no other, to the given value.
macro_rules! sets {
    ($($test:ident: $command:ident $($field:ident).+ = $value:expr, $line:literal, $spellings:literal;)*) => {
        $(#[test]
        fn $test() {
            for spelling in $spellings.split(" | ") {
                let mut args: Vec<&str> = $line.split(' ').collect();
                let Command::$command(mut expected) = command(&args) else {
                    panic!("another command");
                };
                expected.$($field).+ = $value;
                args.splice(1..1, spelling.split(' '));
                assert_eq!(command(&args), Command::$command(expected), "{args:?}");
            }
        })*
    };
}

sets! {
    spec_takes_bundle: Spec bundle = Some("some/text"), "spec", "--bundle some/text | --bundle=some/text | -bundle some/text | -b some/text | -b=some/text";
    spec_takes_rootless: Spec rootless = true, "spec", "--rootless | -rootless | --rootless=true";
    create_takes_bundle: Create launch.bundle = Some("some/text"), "create box", "--bundle some/text | --bundle=some/text | -bundle some/text | -b some/text | -b=some/text";
    create_takes_config: Create launch.config = Some("some/text"), "create box", "--config some/text | --config=some/text | -config some/text | -f some/text | -f=some/text";
    create_takes_console_socket: Create launch.console_socket = Some("some/text"), "create box", "--console-socket some/text | --console-socket=some/text | -console-socket some/text";
    create_takes_pidfd_socket: Create launch.pidfd_socket = Some("some/text"), "create box", "--pidfd-socket some/text | --pidfd-socket=some/text | -pidfd-socket some/text";
    create_takes_pid_file: Create launch.pid_file = Some("some/text"), "create box", "--pid-file some/text | --pid-file=some/text | -pid-file some/text";
    create_takes_no_pivot: Create launch.no_pivot = true, "create box", "--no-pivot | -no-pivot | --no-pivot=true";
    create_takes_no_new_keyring: Create launch.no_new_keyring = true, "create box", "--no-new-keyring | -no-new-keyring | --no-new-keyring=true";
    create_takes_preserve_fds: Create launch.preserve_fds = Some(7), "create box", "--preserve-fds 7 | --preserve-fds=7 | -preserve-fds 7";
    create_takes_dry_run: Create launch.dry_run = true, "create box", "--dry-run | -dry-run | --dry-run=true";
    run_takes_detach: Run detach = true, "run box", "--detach | -detach | --detach=true | -d";
    run_takes_keep: Run keep = true, "run box", "--keep | -keep | --keep=true";
    run_takes_no_subreaper: Run no_subreaper = (), "run box", "--no-subreaper | -no-subreaper | --no-subreaper=true";
    run_takes_bundle: Run launch.bundle = Some("some/text"), "run box", "--bundle some/text | --bundle=some/text | -bundle some/text | -b some/text | -b=some/text";
    run_takes_config: Run launch.config = Some("some/text"), "run box", "--config some/text | --config=some/text | -config some/text | -f some/text | -f=some/text";
    run_takes_console_socket: Run launch.console_socket = Some("some/text"), "run box", "--console-socket some/text | --console-socket=some/text | -console-socket some/text";
    run_takes_pidfd_socket: Run launch.pidfd_socket = Some("some/text"), "run box", "--pidfd-socket some/text | --pidfd-socket=some/text | -pidfd-socket some/text";
    run_takes_pid_file: Run launch.pid_file = Some("some/text"), "run box", "--pid-file some/text | --pid-file=some/text | -pid-file some/text";
    run_takes_no_pivot: Run launch.no_pivot = true, "run box", "--no-pivot | -no-pivot | --no-pivot=true";
    run_takes_no_new_keyring: Run launch.no_new_keyring = true, "run box", "--no-new-keyring | -no-new-keyring | --no-new-keyring=true";
    run_takes_preserve_fds: Run launch.preserve_fds = Some(7), "run box", "--preserve-fds 7 | --preserve-fds=7 | -preserve-fds 7";
    run_takes_dry_run: Run launch.dry_run = true, "run box", "--dry-run | -dry-run | --dry-run=true";
    kill_takes_all: Kill all = true, "kill box", "--all | -all | --all=true | -a";
    delete_takes_force: Delete force = true, "delete box", "--force | -force | --force=true | -f";
    list_takes_format: List format = Some("table"), "list", "--format table | --format=table | -format table | -f table | -f=table";
    list_takes_quiet: List quiet = true, "list", "--quiet | -quiet | --quiet=true | -q";
    exec_takes_process: Exec process = Some("some/text"), "exec box", "--process some/text | --process=some/text | -process some/text | -p some/text | -p=some/text";
    exec_takes_cwd: Exec cwd = Some("some/text"), "exec box", "--cwd some/text | --cwd=some/text | -cwd some/text";
    exec_takes_env: Exec env = Vec::from(["some/text"]), "exec box", "--env some/text | --env=some/text | -env some/text | -e some/text | -e=some/text";
    exec_takes_user: Exec user = Some((1, Some(2))), "exec box", "--user 1:2 | --user=1:2 | -user 1:2 | -u 1:2 | -u=1:2";
    exec_takes_additional_gids: Exec additional_gids = Vec::from([7]), "exec box", "--additional-gids 7 | --additional-gids=7 | -additional-gids 7 | -g 7 | -g=7";
    exec_takes_tty: Exec tty = true, "exec box", "--tty | -tty | --tty=true | -t";
    exec_takes_console_socket: Exec console_socket = Some("some/text"), "exec box", "--console-socket some/text | --console-socket=some/text | -console-socket some/text";
    exec_takes_pidfd_socket: Exec pidfd_socket = Some("some/text"), "exec box", "--pidfd-socket some/text | --pidfd-socket=some/text | -pidfd-socket some/text";
    exec_takes_detach: Exec detach = true, "exec box", "--detach | -detach | --detach=true | -d";
    exec_takes_pid_file: Exec pid_file = Some("some/text"), "exec box", "--pid-file some/text | --pid-file=some/text | -pid-file some/text";
    exec_takes_cap: Exec cap = Vec::from(["some/text"]), "exec box", "--cap some/text | --cap=some/text | -cap some/text | -c some/text | -c=some/text";
    exec_takes_no_new_privs: Exec no_new_privs = true, "exec box", "--no-new-privs | -no-new-privs | --no-new-privs=true";
    exec_takes_apparmor: Exec apparmor = Some("some/text"), "exec box", "--apparmor some/text | --apparmor=some/text | -apparmor some/text";
    exec_takes_process_label: Exec process_label = Some("some/text"), "exec box", "--process-label some/text | --process-label=some/text | -process-label some/text";
    exec_takes_preserve_fds: Exec preserve_fds = Some(7), "exec box", "--preserve-fds 7 | --preserve-fds=7 | -preserve-fds 7";
    exec_takes_cgroup: Exec cgroup = Vec::from(["some/text"]), "exec box", "--cgroup some/text | --cgroup=some/text | -cgroup some/text";
    exec_takes_ignore_paused: Exec ignore_paused = true, "exec box", "--ignore-paused | -ignore-paused | --ignore-paused=true";
    exec_takes_no_subreaper: Exec no_subreaper = (), "exec box", "--no-subreaper | -no-subreaper | --no-subreaper=true";
    seccomp_takes_explain: Seccomp explain = true, "seccomp p.json", "--explain | -explain | --explain=true";
    ps_takes_format: Ps format = Some("table"), "ps box", "--format table | --format=table | -format table | -f table | -f=table";
    update_takes_resources: Update resources = Some("some/text"), "update box", "--resources some/text | --resources=some/text | -resources some/text | -r some/text | -r=some/text";
    update_takes_blkio_weight: Update blkio_weight = Some(7), "update box", "--blkio-weight 7 | --blkio-weight=7 | -blkio-weight 7";
    update_takes_cpu_period: Update cpu_period = Some(7), "update box", "--cpu-period 7 | --cpu-period=7 | -cpu-period 7";
    update_takes_cpu_quota: Update cpu_quota = Some(7), "update box", "--cpu-quota 7 | --cpu-quota=7 | -cpu-quota 7";
    update_takes_cpu_burst: Update cpu_burst = Some(7), "update box", "--cpu-burst 7 | --cpu-burst=7 | -cpu-burst 7";
    update_takes_cpu_share: Update cpu_share = Some(7), "update box", "--cpu-share 7 | --cpu-share=7 | -cpu-share 7";
    update_takes_cpu_rt_period: Update cpu_rt_period = Some(7), "update box", "--cpu-rt-period 7 | --cpu-rt-period=7 | -cpu-rt-period 7";
    update_takes_cpu_rt_runtime: Update cpu_rt_runtime = Some(7), "update box", "--cpu-rt-runtime 7 | --cpu-rt-runtime=7 | -cpu-rt-runtime 7";
    update_takes_cpu_idle: Update cpu_idle = Some(7), "update box", "--cpu-idle 7 | --cpu-idle=7 | -cpu-idle 7";
    update_takes_cpuset_cpus: Update cpuset_cpus = Some("some/text"), "update box", "--cpuset-cpus some/text | --cpuset-cpus=some/text | -cpuset-cpus some/text";
    update_takes_cpuset_mems: Update cpuset_mems = Some("some/text"), "update box", "--cpuset-mems some/text | --cpuset-mems=some/text | -cpuset-mems some/text";
    update_takes_kernel_memory: Update kernel_memory = (), "update box", "--kernel-memory some/text | --kernel-memory=some/text | -kernel-memory some/text";
    update_takes_kernel_memory_tcp: Update kernel_memory_tcp = (), "update box", "--kernel-memory-tcp some/text | --kernel-memory-tcp=some/text | -kernel-memory-tcp some/text";
    update_takes_memory: Update memory = Some(536870912), "update box", "--memory 512m | --memory=512m | -memory 512m";
    update_takes_memory_reservation: Update memory_reservation = Some(536870912), "update box", "--memory-reservation 512m | --memory-reservation=512m | -memory-reservation 512m";
    update_takes_memory_swap: Update memory_swap = Some(536870912), "update box", "--memory-swap 512m | --memory-swap=512m | -memory-swap 512m";
    update_takes_pids_limit: Update pids_limit = Some(7), "update box", "--pids-limit 7 | --pids-limit=7 | -pids-limit 7";
    update_takes_l3_cache_schema: Update l3_cache_schema = Some("some/text"), "update box", "--l3-cache-schema some/text | --l3-cache-schema=some/text | -l3-cache-schema some/text";
    update_takes_mem_bw_schema: Update mem_bw_schema = Some("some/text"), "update box", "--mem-bw-schema some/text | --mem-bw-schema=some/text | -mem-bw-schema some/text";
    events_takes_interval: Events interval = Some(90_000), "events box", "--interval 1m30s | --interval=1m30s | -interval 1m30s";
    events_takes_stats: Events stats = true, "events box", "--stats | -stats | --stats=true";
    checkpoint_takes_parent_path: Checkpoint parent_path = Some("some/text"), "checkpoint box", "--parent-path some/text | --parent-path=some/text | -parent-path some/text";
    checkpoint_takes_leave_running: Checkpoint leave_running = true, "checkpoint box", "--leave-running | -leave-running | --leave-running=true";
    checkpoint_takes_pre_dump: Checkpoint pre_dump = true, "checkpoint box", "--pre-dump | -pre-dump | --pre-dump=true";
    checkpoint_takes_status_fd: Checkpoint status_fd = Some(7), "checkpoint box", "--status-fd 7 | --status-fd=7 | -status-fd 7";
    checkpoint_takes_page_server: Checkpoint page_server = Some("some/text"), "checkpoint box", "--page-server some/text | --page-server=some/text | -page-server some/text";
    checkpoint_takes_image_path: Checkpoint images.image_path = Some("some/text"), "checkpoint box", "--image-path some/text | --image-path=some/text | -image-path some/text";
    checkpoint_takes_work_path: Checkpoint images.work_path = Some("some/text"), "checkpoint box", "--work-path some/text | --work-path=some/text | -work-path some/text";
    checkpoint_takes_tcp_established: Checkpoint images.tcp_established = true, "checkpoint box", "--tcp-established | -tcp-established | --tcp-established=true";
    checkpoint_takes_ext_unix_sk: Checkpoint images.ext_unix_sk = true, "checkpoint box", "--ext-unix-sk | -ext-unix-sk | --ext-unix-sk=true";
    checkpoint_takes_shell_job: Checkpoint images.shell_job = true, "checkpoint box", "--shell-job | -shell-job | --shell-job=true";
    checkpoint_takes_file_locks: Checkpoint images.file_locks = true, "checkpoint box", "--file-locks | -file-locks | --file-locks=true";
    checkpoint_takes_auto_dedup: Checkpoint images.auto_dedup = true, "checkpoint box", "--auto-dedup | -auto-dedup | --auto-dedup=true";
    checkpoint_takes_lazy_pages: Checkpoint images.lazy_pages = true, "checkpoint box", "--lazy-pages | -lazy-pages | --lazy-pages=true";
    checkpoint_takes_link_remap: Checkpoint images.link_remap = true, "checkpoint box", "--link-remap | -link-remap | --link-remap=true";
    checkpoint_takes_manage_cgroups_mode: Checkpoint images.manage_cgroups_mode = Some("soft"), "checkpoint box", "--manage-cgroups-mode soft | --manage-cgroups-mode=soft | -manage-cgroups-mode soft";
    checkpoint_takes_empty_ns: Checkpoint images.empty_ns = (), "checkpoint box", "--empty-ns network | --empty-ns=network | -empty-ns network";
    restore_takes_bundle: Restore bundle = Some("some/text"), "restore box", "--bundle some/text | --bundle=some/text | -bundle some/text | -b some/text | -b=some/text";
    restore_takes_detach: Restore detach = true, "restore box", "--detach | -detach | --detach=true | -d";
    restore_takes_pid_file: Restore pid_file = Some("some/text"), "restore box", "--pid-file some/text | --pid-file=some/text | -pid-file some/text";
    restore_takes_console_socket: Restore console_socket = Some("some/text"), "restore box", "--console-socket some/text | --console-socket=some/text | -console-socket some/text";
    restore_takes_no_subreaper: Restore no_subreaper = (), "restore box", "--no-subreaper | -no-subreaper | --no-subreaper=true";
    restore_takes_no_pivot: Restore no_pivot = true, "restore box", "--no-pivot | -no-pivot | --no-pivot=true";
    restore_takes_lsm_profile: Restore lsm_profile = Some("some/text"), "restore box", "--lsm-profile some/text | --lsm-profile=some/text | -lsm-profile some/text";
    restore_takes_lsm_mount_context: Restore lsm_mount_context = Some("some/text"), "restore box", "--lsm-mount-context some/text | --lsm-mount-context=some/text | -lsm-mount-context some/text";
    restore_takes_image_path: Restore images.image_path = Some("some/text"), "restore box", "--image-path some/text | --image-path=some/text | -image-path some/text";
    restore_takes_work_path: Restore images.work_path = Some("some/text"), "restore box", "--work-path some/text | --work-path=some/text | -work-path some/text";
    restore_takes_tcp_established: Restore images.tcp_established = true, "restore box", "--tcp-established | -tcp-established | --tcp-established=true";
    restore_takes_ext_unix_sk: Restore images.ext_unix_sk = true, "restore box", "--ext-unix-sk | -ext-unix-sk | --ext-unix-sk=true";
    restore_takes_shell_job: Restore images.shell_job = true, "restore box", "--shell-job | -shell-job | --shell-job=true";
    restore_takes_file_locks: Restore images.file_locks = true, "restore box", "--file-locks | -file-locks | --file-locks=true";
    restore_takes_auto_dedup: Restore images.auto_dedup = true, "restore box", "--auto-dedup | -auto-dedup | --auto-dedup=true";
    restore_takes_lazy_pages: Restore images.lazy_pages = true, "restore box", "--lazy-pages | -lazy-pages | --lazy-pages=true";
    restore_takes_link_remap: Restore images.link_remap = true, "restore box", "--link-remap | -link-remap | --link-remap=true";
    restore_takes_manage_cgroups_mode: Restore images.manage_cgroups_mode = Some("soft"), "restore box", "--manage-cgroups-mode soft | --manage-cgroups-mode=soft | -manage-cgroups-mode soft";
    restore_takes_empty_ns: Restore images.empty_ns = (), "restore box", "--empty-ns network | --empty-ns=network | -empty-ns network";
}

#[test]
fn root_is_a_global_flag() {
    assert_eq!(globals(&["--root", "/r"]).root, Some("/r"));
    assert_eq!(globals(&["-root=/r"]).root, Some("/r"));
}

#[test]
fn the_log_is_a_global_flag() {
    let globals = globals(&["--log=/l", "--log-format", "json"]);
    assert_eq!(
        (globals.log, globals.log_format),
        (Some("/l"), Some("json"))
    );
}

#[test]
fn debug_is_a_global_flag() {
    assert!(globals(&["--debug"]).debug);
    assert!(!globals(&["--debug", "--debug=false"]).debug);
}

#[test]
fn the_cgroup_manager_is_a_global_flag() {
    let globals = globals(&["--systemd-cgroup", "--cgroup-manager", "disabled"]);
    assert!(globals.systemd_cgroup);
    assert_eq!(globals.cgroup_manager, Some("disabled"));
}

#[test]
fn criu_is_a_global_flag() {
    assert_eq!(globals(&["--criu", "/c"]).criu, Some("/c"));
}

#[test]
fn rootless_is_accepted_and_ignored() {
    assert_eq!(globals(&["--rootless=auto"]), globals(&[]));
}

#[test]
fn an_error_keeps_the_global_flags_before_it() {
    let mut globals = Globals::default();
    let result = parse(&["--log", "/l", "--nope", "--debug"], &mut globals);
    assert_eq!(
        result.expect_err("an error").to_string(),
        "unknown flag --nope (see runtime --help)"
    );
    assert_eq!((globals.log, globals.debug), (Some("/l"), false));
}

#[test]
fn an_error_keeps_the_command_before_it() {
    let mut globals = Globals::default();
    let result = parse(&["exec", "--user=-1", "box", "true"], &mut globals);
    assert_eq!(
        result.expect_err("an error").to_string(),
        "exec: --user: expected a number from 0 to 4294967294, found \"-1\""
    );
    assert_eq!(globals.command, "exec");
}

#[test]
fn flags_may_follow_operands() {
    let expected = Kill {
        id: "box",
        signal: Some("KILL"),
        all: true,
        ..Kill::default()
    };
    assert_eq!(
        command(&["kill", "box", "--all", "KILL"]),
        Command::Kill(expected)
    );
}

#[test]
fn two_dashes_end_the_flags() {
    let expected = Start {
        id: "-box",
        ..Start::default()
    };
    assert_eq!(command(&["start", "--", "-box"]), Command::Start(expected));
}

#[test]
fn the_last_value_of_a_repeated_flag_applies() {
    let expected = Spec {
        bundle: Some("b"),
        ..Spec::default()
    };
    assert_eq!(
        command(&["spec", "-b", "a", "-b", "b"]),
        Command::Spec(expected)
    );
}

#[test]
fn a_list_keeps_all_values_in_order() {
    let Command::Exec(exec) = command(&["exec", "-e", "A=1", "--env=B=2", "box", "sh"]) else {
        panic!("no exec");
    };
    assert_eq!(exec.env, ["A=1", "B=2"]);
}

#[test]
fn the_command_of_exec_keeps_its_flags() {
    let Command::Exec(exec) = command(&["exec", "-t", "box", "ls", "-t", "--", "-x"]) else {
        panic!("no exec");
    };
    assert_eq!((exec.id, exec.tty), ("box", true));
    assert_eq!(exec.command, ["ls", "-t", "--", "-x"]);
}

#[test]
fn the_arguments_of_ps_may_begin_with_a_flag() {
    let Command::Ps(ps) = command(&["ps", "--format", "table", "box", "-o", "pid"]) else {
        panic!("no ps");
    };
    assert_eq!((ps.id, ps.format), ("box", Some("table")));
    assert_eq!(ps.arguments, ["-o", "pid"]);
}

#[test]
fn the_call_of_seccomp_follows_its_flags() {
    let Command::Seccomp(seccomp) = command(&["seccomp", "f", "--explain", "openat", "-1"]) else {
        panic!("no seccomp");
    };
    assert_eq!((seccomp.file, seccomp.explain), ("f", true));
    assert_eq!(seccomp.call, ["openat", "-1"]);
}

#[test]
fn an_empty_limit_counts_as_unset() {
    let Command::Update(update) = command(&["update", "--memory", "5", "--memory=", "box"]) else {
        panic!("no update");
    };
    assert_eq!(update.memory, None);
}

#[test]
fn a_user_needs_no_group() {
    let Command::Exec(exec) = command(&["exec", "--user", "1000", "box", "id"]) else {
        panic!("no exec");
    };
    assert_eq!(exec.user, Some((1000, None)));
}

#[test]
fn version_and_help_are_requests() {
    fn ask<'a>(args: &[&'a str]) -> Request<'a> {
        parse(args, &mut Globals::default()).expect("a request")
    }
    assert_eq!(ask(&["-v"]), Request::Version);
    assert_eq!(ask(&["--debug", "--version"]), Request::Version);
    assert_eq!(ask(&[]), ask(&["--help"]));
    assert_eq!(ask(&["help", "run"]), ask(&["run", "-h"]));
}

macro_rules! refuses {
    ($($test:ident: $args:expr, $text:literal;)*) => {
        $(#[test]
        fn $test() {
            assert_eq!(error(&$args), $text);
        })*
    };
}

refuses! {
    an_unknown_command: ["nope"], "unknown command \"nope\": No help topic for 'nope' (see runtime --help)";
    an_unknown_flag: ["create", "--nope", "box"], "unknown flag --nope for create (see runtime create --help)";
    an_unknown_short_flag: ["create", "-x", "box"], "unknown flag -x for create (see runtime create --help)";
    an_empty_flag: ["create", "--=x", "box"], "unknown flag - for create (see runtime create --help)";
    a_global_flag_after_the_command: ["start", "--root", "/r"], "unknown flag --root for start (see runtime start --help)";
    a_flag_without_its_value: ["restore", "--lsm-mount-context"], "flag --lsm-mount-context requires an argument for restore (see runtime restore --help)";
    a_global_flag_without_its_value: ["--log"], "flag --log requires an argument (see runtime --help)";
    a_missing_id: ["create"], "missing argument ID for create (see runtime create --help)";
    one_operand_too_many: ["start", "a", "b"], "unexpected argument \"b\" for start (see runtime start --help)";
    a_switch_that_is_neither: ["delete", "--force=2", "box"], "flag --force is true or false, not \"2\" for delete (see runtime delete --help)";
    a_word_that_is_not_one_of: ["--log-format", "xml"], "flag --log-format is one of text, json, not \"xml\" (see runtime --help)";
    a_negative_count: ["create", "--preserve-fds", "-1"], "flag --preserve-fds is an integer from 0 to 2147483647, not \"-1\" for create (see runtime create --help)";
    a_limit_that_is_no_integer: ["update", "--pids-limit", "many", "box"], "update: --pids-limit: expected an integer, found \"many\"";
    a_limit_with_a_plus: ["update", "--cpu-quota=+1", "box"], "update: --cpu-quota: expected an integer, found \"+1\"";
    a_negative_period: ["update", "--cpu-period=-1", "box"], "update: --cpu-period: expected an integer, found \"-1\"";
    a_weight_out_of_range: ["update", "--blkio-weight=65536", "box"], "update: --blkio-weight: expected an integer, found \"65536\"";
    an_unknown_unit: ["update", "--memory", "5x", "box"], "update: --memory: expected a number of bytes such as 512m or -1, found \"5x\"";
    an_interval_of_nothing: ["events", "--interval", "0s", "box"], "events: --interval: expected a time such as 5s or 1m30s, found \"0s\"";
    a_user_by_name: ["exec", "--user", "1:root", "box", "id"], "exec: --user: expected a number from 0 to 4294967294, found \"root\"";
    a_group_out_of_range: ["exec", "-g", "4294967295", "box", "id"], "exec: --additional-gids: expected a number from 0 to 4294967294, found \"4294967295\"";
}

#[test]
fn sizes_have_units_of_1024() {
    let size = |text| Takes::Bytes("").value(text).expect("a size");
    for (text, bytes) in [
        ("-1", -1),
        ("1000", 1000),
        ("1k", 1024),
        ("1.5GiB", 1_610_612_736),
        ("2 MB", 2_097_152),
        ("1p", 1 << 50),
    ] {
        assert_eq!(size(text), Value::Number(bytes), "{text}");
    }
}

#[test]
fn times_are_written_as_in_go() {
    let time = |text| Takes::Time("").value(text).expect("a time");
    for (text, milliseconds) in [("5ms", 5), ("5s", 5000), ("1h2m3s", 3_723_000)] {
        assert_eq!(time(text), Value::Number(milliseconds), "{text}");
    }
}

#[test]
fn every_help_fits_80_columns() {
    let mut texts = Vec::from([help(&[])]);
    texts.extend(COMMANDS.iter().map(|entry| help(&["help", entry.name])));
    for line in texts.iter().flat_map(|text| text.lines()) {
        assert!(line.len() <= 80 && !line.ends_with(' '), "{line:?}");
    }
}

#[test]
fn the_table_has_no_duplicate_names() {
    let mut tables = Vec::from([("", Globals::FLAGS)]);
    for entry in COMMANDS {
        tables.push((entry.name, entry.flags));
        assert_eq!(
            COMMANDS
                .iter()
                .filter(|other| other.name == entry.name)
                .count(),
            1
        );
    }
    for (name, flags) in tables {
        let rows: Vec<&Flag> = flags.iter().copied().flatten().collect();
        for row in &rows {
            let same = |other: &&&Flag| {
                other.long == row.long || other.short.is_some() && other.short == row.short
            };
            assert_eq!(rows.iter().filter(same).count(), 1, "{name} --{}", row.long);
        }
    }
}

#[test]
fn every_flag_and_command_has_help() {
    for entry in COMMANDS {
        assert!(
            !entry.help.is_empty() && entry.example.starts_with("runtime "),
            "{}",
            entry.name
        );
        for flag in entry.flags.iter().copied().flatten() {
            assert!(!flag.help.is_empty(), "{} --{}", entry.name, flag.long);
        }
    }
}

#[test]
fn every_example_is_a_command_line() {
    for entry in COMMANDS {
        for line in entry.example.split("; ") {
            let args: Vec<&str> = line.split(' ').skip(1).collect();
            assert_eq!(find(args[0]).expect("a command").0.name, entry.name);
            command(&args);
        }
    }
}

#[test]
fn the_help_of_kill_is_exact() {
    assert_eq!(
        help(&["kill", "--help"]),
        "runtime kill: send a signal to a container (default: its stop signal)\n\n\
         usage: runtime kill [FLAGS] ID [SIGNAL]\n\n\
         flags:\n  -a, --all   signal every process of the container\n  \
         -h, --help  print this text\n\nexample: runtime kill box KILL\n"
    );
}
