//! The architectures of the OCI specification: their names, their audit tokens and the width of their arguments.
//! The list follows libseccomp's seccomp_arch_add(3). Each name is `SCMP_ARCH_` plus the variant in capitals.

/// An architecture, as named in a profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64n32,
    Mipsel,
    Mipsel64,
    Mipsel64n32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Ppc64le,
    S390,
    S390x,
    Sh,
    Sheb,
}

/// The bit that distinguishes x32 numbers from x86_64 numbers, which share one audit token.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

// linux/audit.h: an audit token is the ELF machine number plus these flags.
const LE: u32 = 0x4000_0000;
const BIT64: u32 = 0x8000_0000;
const N32: u32 = 0x2000_0000;
const EM_MIPS: u32 = 8;
const EM_PARISC: u32 = 15;
const EM_PPC: u32 = 20;
const EM_PPC64: u32 = 21;
const EM_S390: u32 = 22;
const EM_SH: u32 = 42;

impl Arch {
    pub const ALL: [Arch; 23] = [
        Arch::X86_64,
        Arch::X86,
        Arch::X32,
        Arch::Aarch64,
        Arch::Arm,
        Arch::Riscv64,
        Arch::Loongarch64,
        Arch::M68k,
        Arch::Mips,
        Arch::Mips64,
        Arch::Mips64n32,
        Arch::Mipsel,
        Arch::Mipsel64,
        Arch::Mipsel64n32,
        Arch::Parisc,
        Arch::Parisc64,
        Arch::Ppc,
        Arch::Ppc64,
        Arch::Ppc64le,
        Arch::S390,
        Arch::S390x,
        Arch::Sh,
        Arch::Sheb,
    ];

    /// The architecture this crate is built for. Every filter covers it, whether the profile lists it or not.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Arch = Arch::Riscv64;

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::X86 => "SCMP_ARCH_X86",
            Arch::X32 => "SCMP_ARCH_X32",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
            Arch::Arm => "SCMP_ARCH_ARM",
            Arch::Riscv64 => "SCMP_ARCH_RISCV64",
            Arch::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            Arch::M68k => "SCMP_ARCH_M68K",
            Arch::Mips => "SCMP_ARCH_MIPS",
            Arch::Mips64 => "SCMP_ARCH_MIPS64",
            Arch::Mips64n32 => "SCMP_ARCH_MIPS64N32",
            Arch::Mipsel => "SCMP_ARCH_MIPSEL",
            Arch::Mipsel64 => "SCMP_ARCH_MIPSEL64",
            Arch::Mipsel64n32 => "SCMP_ARCH_MIPSEL64N32",
            Arch::Parisc => "SCMP_ARCH_PARISC",
            Arch::Parisc64 => "SCMP_ARCH_PARISC64",
            Arch::Ppc => "SCMP_ARCH_PPC",
            Arch::Ppc64 => "SCMP_ARCH_PPC64",
            Arch::Ppc64le => "SCMP_ARCH_PPC64LE",
            Arch::S390 => "SCMP_ARCH_S390",
            Arch::S390x => "SCMP_ARCH_S390X",
            Arch::Sh => "SCMP_ARCH_SH",
            Arch::Sheb => "SCMP_ARCH_SHEB",
        }
    }

    pub fn from_name(name: &str) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// The value of `seccomp_data.arch` (`AUDIT_ARCH_*`). x32 has no token of its own.
    pub fn token(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 62 | BIT64 | LE,
            Arch::X86 => 3 | LE,
            Arch::Aarch64 => 183 | BIT64 | LE,
            Arch::Arm => 40 | LE,
            Arch::Riscv64 => 243 | BIT64 | LE,
            Arch::Loongarch64 => 258 | BIT64 | LE,
            Arch::M68k => 4,
            Arch::Mips => EM_MIPS,
            Arch::Mips64 => EM_MIPS | BIT64,
            Arch::Mips64n32 => EM_MIPS | BIT64 | N32,
            Arch::Mipsel => EM_MIPS | LE,
            Arch::Mipsel64 => EM_MIPS | BIT64 | LE,
            Arch::Mipsel64n32 => EM_MIPS | BIT64 | N32 | LE,
            Arch::Parisc => EM_PARISC,
            Arch::Parisc64 => EM_PARISC | BIT64,
            Arch::Ppc => EM_PPC,
            Arch::Ppc64 => EM_PPC64 | BIT64,
            Arch::Ppc64le => EM_PPC64 | BIT64 | LE,
            Arch::S390 => EM_S390,
            Arch::S390x => EM_S390 | BIT64,
            Arch::Sh => EM_SH | LE,
            Arch::Sheb => EM_SH,
        }
    }

    /// Whether arguments are compared as 64-bit values.
    /// This follows the token, so it includes x32 and mips n32: their pointers are shorter, but the kernel passes
    /// whole registers to the filter and acts on whole registers.
    pub fn is_64_bit(self) -> bool {
        self.token() & BIT64 != 0
    }

    /// Whether the low half of a 64-bit argument is stored first.
    pub fn is_little_endian(self) -> bool {
        self.token() & LE != 0
    }
}
