//! The binary accepts every spec that oci-spec can express, and oci-spec parses the binary's output.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use oci_spec::runtime::{ContainerState, LinuxNamespaceType, Spec, State};
use runtime_oci_spec_tests::{Bundle, full, random, runtime};
use serde_json::{Value, json};

/// The number of random specs.
const SPECS: u64 = 300;

#[test]
fn every_spec_the_builders_make_at_random_is_planned() {
    let bundle = Bundle::new();
    let mut refusals: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in 1..=SPECS {
        let spec = random::spec(seed).expect("the builders accept it");
        let config = serde_json::to_value(spec).expect("JSON");
        if let Err(error) = bundle.plan(&config) {
            refusals.entry(error).or_default().push(seed);
        }
    }
    assert!(refusals.is_empty(), "refused, by seed: {refusals:#?}");
}

#[test]
fn the_default_specs_of_oci_spec_are_planned() {
    for spec in [Spec::default(), Spec::rootless(0, 0)] {
        let config = serde_json::to_value(spec).expect("JSON");
        assert_eq!(Bundle::new().plan(&config), Ok(()), "{config}");
    }
}

#[test]
fn every_field_is_known_and_a_wrong_type_is_reported_with_its_path() {
    let full = full_config();
    let bundle = Bundle::new();
    for pointer in fields(&full) {
        let right = full.pointer(&pointer).expect("a field");
        let wrong = if right.is_array() {
            json!({})
        } else {
            json!([])
        };
        let found = if right.is_array() {
            "an object"
        } else {
            "a list"
        };
        let error = bundle
            .plan(&with(&full, &pointer, wrong))
            .expect_err(&pointer);
        let (path, rest) = read_error(&error).unwrap_or_else(|| panic!("{pointer}: {error}"));
        assert!(same_path(path, &pointer), "{pointer}: {error}");
        assert!(
            rest.starts_with("expected ") && rest.ends_with(&format!(", found {found}")),
            "{pointer}: {error}"
        );
    }
}

#[test]
fn null_counts_as_absent_in_every_field() {
    let full = full_config();
    let bundle = Bundle::new();
    for pointer in fields(&full) {
        let of_list_or_map = pointer
            .rsplit('/')
            .next()
            .is_some_and(|key| key.parse::<usize>().is_ok())
            || MAPS.iter().any(|map| {
                pointer
                    .rsplit_once('/')
                    .is_some_and(|(parent, _)| parent.ends_with(map))
            });
        if of_list_or_map {
            continue;
        }
        // The plan may reject the rest. Reading fails only for a required field, and the error says exactly that.
        if let Err(error) = bundle.plan(&with(&full, &pointer, Value::Null)) {
            let Some((path, rest)) = read_error(&error) else {
                continue;
            };
            assert!(!rest.contains("found null"), "{pointer}: {error}");
            if rest == "required field is missing" {
                assert!(same_path(path, &pointer), "{pointer}: {error}");
            }
        }
    }
}

#[test]
fn the_output_of_spec_survives_a_round_trip_through_oci_spec() {
    for flags in [&["spec"][..], &["spec", "--rootless"]] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let output = runtime()
            .args(flags)
            .current_dir(dir.path())
            .output()
            .expect("runtime is executable");
        assert!(output.status.success(), "{}", stderr(&output));
        let file = dir.path().join("config.json");
        let spec = Spec::load(&file).expect("oci-spec reads it");
        let written: Value =
            serde_json::from_str(&fs::read_to_string(&file).expect("text")).expect("JSON");
        let again = serde_json::to_value(&spec).expect("JSON");
        assert_eq!(sorted_capabilities(again), sorted_capabilities(written));
        let namespaces = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref())
            .expect("namespaces");
        let user = namespaces
            .iter()
            .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
        assert_eq!(user, flags.len() > 1);
    }
}

#[test]
fn oci_spec_parses_the_output_of_state() {
    let bundle = Bundle::new();
    let spec = runtime()
        .arg("spec")
        .current_dir(bundle.path())
        .output()
        .expect("runtime is executable");
    assert!(spec.status.success(), "{}", stderr(&spec));
    let file = bundle.path().join("config.json");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("text")).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["annotations"] = json!({"org.example.key": "a \"value\""});
    bundle.write(&config);
    // `create` looks up the program, although it is never started.
    let bin = bundle.path().join("rootfs/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(bin.join("sh"), "").expect("a file");
    fs::set_permissions(bin.join("sh"), fs::Permissions::from_mode(0o755)).expect("its mode");

    let path = bundle.path().to_str().expect("a UTF-8 path");
    let id = format!("oci-spec-{}", std::process::id());
    assert_eq!(bundle.create(&id), Ok(()));
    let state = bundle.call(&["state", &id]);
    let deleted = bundle.call(&["delete", "--force", &id]);
    assert!(deleted.status.success(), "{}", stderr(&deleted));

    let state: State = serde_json::from_slice(&state.stdout).expect("oci-spec reads it");
    assert_eq!(state.version(), "1.3.0");
    assert_eq!(state.id(), &id);
    assert_eq!(state.status(), &ContainerState::Created);
    assert!(state.pid().is_some_and(|pid| pid > 1));
    assert_eq!(state.bundle(), &fs::canonicalize(path).expect("the bundle"));
    let annotations = state.annotations().as_ref().expect("annotations");
    assert_eq!(annotations["org.example.key"], "a \"value\"");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn full_config() -> Value {
    serde_json::to_value(full::spec().expect("the builders accept it")).expect("JSON")
}

/// The objects whose keys are data, not field names.
const MAPS: [&str; 6] = [
    "/annotations",
    "/sysctl",
    "/timeOffsets",
    "/netDevices",
    "/rdma",
    "/unified",
];

/// The JSON pointers of all fields and list members below a value.
fn fields(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    let below = |(key, value): &(String, &Value)| {
        let own = format!("/{key}");
        let deeper = fields(value)
            .into_iter()
            .map(|field| format!("{own}{field}"))
            .collect::<Vec<_>>();
        [vec![own], deeper].concat()
    };
    children.iter().flat_map(below).collect()
}

fn with(config: &Value, pointer: &str, value: Value) -> Value {
    let mut config = config.clone();
    *config.pointer_mut(pointer).expect("a field") = value;
    config
}

/// Splits `… config.json: PATH: WHAT`.
fn read_error(error: &str) -> Option<(&str, &str)> {
    error
        .trim_end()
        .split_once("config.json: ")?
        .1
        .split_once(": ")
}

/// Whether `a.b[0]` and `/a/b/0` name the same place. Ignores case, because oci-spec writes enableCmt for enableCMT.
fn same_path(path: &str, pointer: &str) -> bool {
    let unquoted = path.replace("[\"", "/").replace("\"]", "");
    let outside_quotes = |text: &str| text.replace('[', "/").replace(']', "");
    let slashed = format!("/{}", outside_quotes(&unquoted));
    slashed
        .replace('.', "/")
        .eq_ignore_ascii_case(&pointer.replace('.', "/"))
}

/// Sorts capabilities, which oci-spec keeps as sets.
fn sorted_capabilities(mut config: Value) -> Value {
    for list in config["process"]["capabilities"]
        .as_object_mut()
        .expect("capabilities")
        .values_mut()
    {
        list.as_array_mut()
            .expect("a list")
            .sort_by_key(ToString::to_string);
    }
    config
}
