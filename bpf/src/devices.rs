//! Compiles device rules of config.json to an eBPF program of type cgroup-device.
//! The kernel runs the program whenever a process of the cgroup opens or creates a device node. The return value
//! allows or refuses the access.
//!
//! For each bit of an access, the last matching rule decides. A request to read and write is refused if the last rule
//! for writing denies it. An access that no rule matches is refused.

use alloc::vec::Vec;

/// The bits of an access: requested by a process, or covered by a rule (`BPF_DEVCG_ACC_*`, include/uapi/linux/bpf.h).
pub const MKNOD: u8 = 1;
pub const READ: u8 = 2;
pub const WRITE: u8 = 4;
const EVERYTHING: u8 = MKNOD | READ | WRITE;

/// The kind of a device node, with the kernel's number (`BPF_DEVCG_DEV_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Block = 1,
    Char = 2,
}

/// One rule. `None` matches every kind or every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: Option<DeviceKind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// A combination of `MKNOD`, `READ` and `WRITE`.
    pub access: u8,
}

impl DeviceRule {
    /// Whether the rule matches every access to every device. Rules before it have no effect.
    pub fn is_about_everything(&self) -> bool {
        self.kind.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == EVERYTHING
    }
}

/// One eBPF instruction: `struct bpf_insn`, as the kernel reads it on a little-endian machine:
/// opcode, `dst | src << 4`, a jump's offset (16 bits), an immediate value (32 bits).
pub type Instruction = u64;

// Opcodes from the kernel's Documentation/bpf/standardization/instruction-set.rst.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
// The 32-bit jumps: an immediate value can hold everything they compare.
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_ANY: u8 = 0x46;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// Register: the requested bits that no rule has allowed yet.
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, to: u8, from: u8, offset: i16, value: u32) -> Instruction {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(value) << 32
}

/// The target of a jump. All jumps are forward.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    NextRule,
    Refuse,
    Allow,
}

#[derive(Default)]
struct Assembler {
    program: Vec<Instruction>,
    /// The positions of the jumps to each label, by label.
    jumps: [Vec<usize>; 3],
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, value: u32) {
        self.program.push(instruction(code, to, from, 0, value));
    }

    /// Loads a word of struct bpf_cgroup_dev_ctx.
    fn load(&mut self, to: u8, offset: i16) {
        let load = instruction(LOAD_WORD, to, CONTEXT, offset, 0);
        self.program.push(load);
    }

    fn jump(&mut self, code: u8, register: u8, value: u32, label: Label) {
        self.jumps[label as usize].push(self.program.len());
        self.push(code, register, 0, value);
    }

    /// Places the label here. Returns false if a jump to it is too long.
    fn place(&mut self, label: Label) -> bool {
        let here = self.program.len();
        let program = &mut self.program;
        self.jumps[label as usize]
            .drain(..)
            .all(|at| match u16::try_from(here - at - 1) {
                Ok(offset) if offset <= i16::MAX as u16 => {
                    program[at] |= u64::from(offset) << 16;
                    true
                }
                _ => false,
            })
    }
}

/// Compiles the rules in the order of config.json. Returns `None` if they do not fit into one program.
pub fn compile_devices(rules: &[DeviceRule]) -> Option<Vec<Instruction>> {
    let mut asm = Assembler::default();
    // access_type (what is asked for above 16 bits of kind), major, minor.
    asm.load(KIND, 0);
    asm.push(MOVE_REGISTER, ACCESS, KIND, 0);
    asm.push(SHIFT_RIGHT, ACCESS, 0, 16);
    asm.push(AND, KIND, 0, 0xffff);
    asm.load(MAJOR, 4);
    asm.load(MINOR, 8);
    let mut decided = false;
    for rule in rules.iter().rev() {
        if let Some(kind) = rule.kind {
            asm.jump(JUMP_IF_NOT_EQUAL, KIND, kind as u32, Label::NextRule);
        }
        if let Some(major) = rule.major {
            asm.jump(JUMP_IF_NOT_EQUAL, MAJOR, major, Label::NextRule);
        }
        if let Some(minor) = rule.minor {
            asm.jump(JUMP_IF_NOT_EQUAL, MINOR, minor, Label::NextRule);
        }
        match (rule.allow, rule.access) {
            (true, EVERYTHING) => asm.jump(JUMP, 0, 0, Label::Allow),
            (false, EVERYTHING) => asm.jump(JUMP, 0, 0, Label::Refuse),
            (true, access) => {
                asm.push(AND, ACCESS, 0, u32::from(EVERYTHING & !access));
                asm.jump(JUMP_IF_EQUAL, ACCESS, 0, Label::Allow);
            }
            (false, access) => {
                asm.jump(JUMP_IF_ANY, ACCESS, u32::from(access), Label::Refuse);
            }
        }
        if !asm.place(Label::NextRule) {
            return None;
        }
        // The verifier refuses programs with unreachable instructions.
        if rule.is_about_everything() {
            decided = true;
            break;
        }
    }
    for (label, result) in [(Label::Refuse, 0), (Label::Allow, 1)] {
        let reached = !asm.jumps[label as usize].is_empty() || label == Label::Refuse && !decided;
        if !asm.place(label) {
            return None;
        }
        if reached {
            asm.push(MOVE, RESULT, 0, result);
            asm.push(EXIT, 0, 0, 0);
        }
    }
    Some(asm.program)
}
