//! The allocator of the program, and how the program ends if there is no more memory.

use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;

use mimalloc::MiMalloc;

/// candle returns a new buffer from every operation. glibc gives each freed buffer back to the system and requests it
/// again, page by page. mimalloc keeps it. If there is no more memory, the program ends with one line instead of an
/// abort.
pub struct Allocator;

// SAFETY: every call goes to mimalloc with the same arguments. Nothing else is done with the memory here.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { MiMalloc.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        end(bytes);
    }
    memory
}

/// Ends the program without allocating anything. Files are written through temporary files, so no file is left
/// incomplete.
#[cold]
fn end(bytes: usize) -> ! {
    let mut line = [0u8; 160];
    let mut rest = &mut line[..];
    let _ = writeln!(
        rest,
        "blemish: out of memory: {} MB more are needed; close other programs, take fewer or smaller photos, or a smaller model",
        bytes.div_ceil(1_000_000)
    );
    let unused = rest.len();
    let _ = std::io::stderr().write_all(&line[..line.len() - unused]);
    #[cfg(unix)]
    // SAFETY: this ends the process at once. Handlers of a normal exit do not run, because they could need memory.
    unsafe {
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    std::process::abort()
}
