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
        let hooks = &self.spec.hooks;
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            self.steps.push(Step::Meet(Point::Hooks));
        }
        if !hooks.create_container.is_empty() {
            let hooks = self.child_hooks(c"createContainer", &hooks.create_container, None)?;
            self.steps.push(Step::Hooks(hooks));
        }
        Ok(())
    }

    /// Prepares hooks that the child runs, with the pid as its pid namespace sees it. `env` is the default for
    /// hooks without an environment.
    pub fn child_hooks(
        &self,
        kind: &'static CStr,
        hooks: &[SpecHook<'_>],
        env: Option<&'static [Arg<'static>]>,
    ) -> Result<step::Hooks<'static>> {
        let mut ready = Vec::new();
        for (n, hook) in hooks.iter().enumerate() {
            let field = format!("hooks.{}[{n}]", kind.to_str().unwrap_or_default());
            let hook = checked_hook(&field, hook)?;
            ready.push(syscalls::hook::Hook {
                path: leak_text(&hook.path, &field)?,
                argv: arguments(&hook.args, &field)?,
                envp: match env {
                    Some(env) if hook.env.is_empty() => env,
                    _ => arguments(&hook.env, &field)?,
                },
                timeout: hook.timeout,
            });
        }
        Ok(step::Hooks {
            kind,
            hooks: leak(ready),
            state: self.state_around_pid()?,
        })
    }

    /// The state as JSON, in two parts. The pid goes between them.
    fn state_around_pid(&self) -> Result<[&'static [u8]; 2]> {
        let annotations = owned_pairs(&self.spec.annotations);
        let root = self.spec.root.as_ref().map_or("", |root| &root.path);
        let state = state::OciState {
            oci_version: state::OCI_VERSION,
            id: self.options.id,
            pid: 0,
            status: state::CREATED,
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

/// Checks that the path of a hook is absolute and its timeout is valid.
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
    Ok(Hook {
        path: hook.path.as_ref().to_owned(),
        args,
        env: own(&hook.env),
        timeout,
    })
}
