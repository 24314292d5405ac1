//! The hooks that the parent runs, and those that the child runs. Source: config.md, POSIX-platform Hooks.

use super::{Builder, absolute, arguments, leak, leak_text, owned_pairs};
use crate::error::{Error, Result, fail};
use crate::spec::{self, Hook as SpecHook};
use crate::state::{self, Hook};
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ffi::CStr;
use syscalls::calls::Arg;
use syscalls::step::{self, Point, Step};

/// The environment of a hook that has none: its shell finds programs.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The hooks that the parent runs.
#[derive(Default)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

impl Hooks {
    pub fn new(hooks: &spec::Hooks<'_>) -> Result<Self> {
        let checked = |kind: &str, hooks: &[SpecHook<'_>]| -> Result<Vec<Hook>> {
            let hooks = hooks.iter().enumerate();
            hooks
                .map(|(n, hook)| checked_hook(&format!("hooks.{kind}[{n}]"), hook))
                .collect()
        };
        Ok(Self {
            prestart: checked("prestart", &hooks.prestart)?,
            create_runtime: checked("createRuntime", &hooks.create_runtime)?,
            poststart: checked("poststart", &hooks.poststart)?,
            poststop: checked("poststop", &hooks.poststop)?,
        })
    }
}

impl Builder<'_> {
    /// The hooks before the root is entered: the parent runs prestart and createRuntime, the child runs
    /// createContainer.
    pub fn hooks_before_root(&mut self) -> Result<()> {
        if self.runs_hooks_before_root() {
            self.steps.push(Step::Meet(Point::Hooks));
        }
        let hooks = &self.spec.hooks;
        if !hooks.create_container.is_empty() {
            let hooks = &hooks.create_container;
            let hooks = self.child_hooks(c"createContainer", hooks, None, state::CREATING)?;
            self.steps.push(Step::Hooks(hooks));
        }
        Ok(())
    }

    /// Whether any hook runs before the root is entered.
    pub fn runs_hooks_before_root(&self) -> bool {
        let hooks = &self.spec.hooks;
        [
            &hooks.prestart,
            &hooks.create_runtime,
            &hooks.create_container,
        ]
        .iter()
        .any(|hooks| !hooks.is_empty())
    }

    /// Prepares hooks that the child runs, with the pid as its pid namespace sees it. `env` is the default for
    /// hooks without an environment; without it they get `PATH`. `status` is the status in the state.
    pub fn child_hooks(
        &self,
        kind: &'static CStr,
        hooks: &[SpecHook<'_>],
        env: Option<&'static [Arg<'static>]>,
        status: &str,
    ) -> Result<step::Hooks<'static>> {
        let mut ready = Vec::new();
        for (n, hook) in hooks.iter().enumerate() {
            let field = format!("hooks.{}[{n}]", kind.to_str().unwrap_or_default());
            let without_env = hook.env.is_empty();
            let hook = checked_hook(&field, hook)?;
            ready.push(syscalls::hook::Hook {
                path: leak_text(&hook.path, &field)?,
                argv: arguments(&hook.args, &field)?,
                envp: match env {
                    Some(env) if without_env => env,
                    _ => arguments(&hook.env, &field)?,
                },
                timeout: hook.timeout,
            });
        }
        Ok(step::Hooks {
            kind,
            hooks: leak(ready),
            state: self.state_around_pid(status)?,
        })
    }

    /// The state as JSON, in two parts. The pid goes between them.
    fn state_around_pid(&self, status: &str) -> Result<[&'static [u8]; 2]> {
        let annotations = owned_pairs(&self.spec.annotations);
        let root = self.spec.root.as_ref().map_or("", |root| &root.path);
        let state = state::OciState {
            oci_version: state::OCI_VERSION,
            id: self.options.id,
            pid: 0,
            status,
            bundle: self.options.bundle,
            rootfs: &absolute(self.options.bundle, root),
            created: self.options.created,
            annotations: &annotations,
        };
        let json = serde_json::to_string(&state).map_err(|e| Error::new(e.to_string()))?;
        let pid = "\"pid\":";
        let at = json
            .find(&format!("{pid}0,"))
            .map_or(0, |at| at + pid.len());
        let json: &'static str = Box::leak(json.into_boxed_str());
        Ok([&json.as_bytes()[..at], &json.as_bytes()[at + 1..]])
    }
}

/// Checks that the path of a hook is absolute and its timeout is valid. A hook without an environment gets `PATH`.
fn checked_hook(field: &str, hook: &SpecHook<'_>) -> Result<Hook> {
    if !hook.path.starts_with('/') {
        fail!(
            "config.json: {field}.path: expected an absolute path, found {:?}",
            hook.path
        );
    }
    let timeout = match hook.timeout {
        None => None,
        Some(n) if n > 0 => Some(u32::try_from(n).unwrap_or(u32::MAX)),
        Some(n) => fail!("config.json: {field}.timeout: expected a number above 0, found {n}"),
    };
    let own = |list: &[Cow<'_, str>]| {
        list.iter()
            .map(|s| s.as_ref().to_owned())
            .collect::<Vec<_>>()
    };
    let mut args = own(&hook.args);
    if args.is_empty() {
        args.push(hook.path.as_ref().to_owned());
    }
    let mut env = own(&hook.env);
    if env.is_empty() {
        env.push(PATH.to_owned());
    }
    Ok(Hook {
        path: hook.path.as_ref().to_owned(),
        args,
        env,
        timeout,
    })
}
