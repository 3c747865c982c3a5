//! Which vector instructions the kernels use: the widest of the processor. The variable `BLEMISH_SIMD` chooses narrower
//! ones, so that one machine can test what others do.

use std::sync::OnceLock;

use pulp::{Arch, WithSimd};

use crate::error::{Error, Result};

/// The environment variable.
const VARIABLE: &str = "BLEMISH_SIMD";

/// Runs a task with the chosen vector instructions. A task is a struct and not a closure. A closure that is not
/// inlined is compiled for the oldest processors.
pub(super) fn vectorised<T: WithSimd>(task: T) -> T::Output {
    chosen().dispatch(task)
}

fn chosen() -> Arch {
    static CHOSEN: OnceLock<Arch> = OnceLock::new();
    *CHOSEN.get_or_init(|| wanted().ok().flatten().unwrap_or_default())
}

/// Identifies what the last bits of results depend on, for caches. The number grows when a kernel gives other bits.
pub(crate) fn arithmetic() -> String {
    format!("1 {}", name(chosen()))
}

/// The name of the vector instructions in use.
///
/// # Errors
/// [`Error::Setting`] if `BLEMISH_SIMD` has another value, or names what this processor does not have.
pub(crate) fn instructions() -> Result<&'static str> {
    Ok(name(wanted()?.unwrap_or_default()))
}

/// The choice of the variable, if it is set.
fn wanted() -> Result<Option<Arch>> {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let all = all();
    if let Some(arch) = all.iter().find(|arch| value == name(**arch)) {
        return Ok(Some(*arch));
    }
    let names: Vec<&str> = all.iter().map(|arch| name(*arch)).collect();
    let setting = format!("{VARIABLE}={}", value.display());
    let why = format!("unknown here; take one of {}, or unset the variable", names.join(", "));
    Err(Error::setting(setting, why))
}

/// What this processor has, the narrowest first.
pub(super) fn all() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    let wider = [pulp::x86::V3::try_new().map(Arch::V3), pulp::x86::V4::try_new().map(Arch::V4)];
    #[cfg(not(target_arch = "x86_64"))]
    let wider = [Some(Arch::new()).filter(|arch| !matches!(arch, Arch::Scalar))];
    std::iter::once(Arch::Scalar).chain(wider.into_iter().flatten()).collect()
}

fn name(arch: Arch) -> &'static str {
    match arch {
        Arch::Scalar => "none",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "avx2",
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "avx512",
        #[allow(unreachable_patterns, reason = "the list of a processor family is not closed")]
        _ => "neon",
    }
}
