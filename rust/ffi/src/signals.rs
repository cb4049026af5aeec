//! Keeps the host's signals away from the engine's threads.
#![expect(unsafe_code, reason = "the signal mask of a thread can only be set through libc")]

/// Blocks every signal on the calling thread, so that the host's handlers run on the host's threads only.
pub fn block_all() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set before `pthread_sigmask` reads it; a null old set is allowed. The
    // mask is the calling thread's own. A failure leaves the mask as it was, which is harmless.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}
