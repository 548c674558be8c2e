//! Futures that are compiled here.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;

/// A future of which its user sees the output only.
///
/// The compiler generates the body of an `async fn`, and of everything that it awaits, in the crate
/// that polls it: without this, each program would compile large parts of this library, again with
/// each change of its own. The bodies behind this are generated in this crate, once. Public futures
/// therefore hold one where their bodies name no type parameter.
///
/// It is `Sync`, whatever the body holds: nobody but its poller ever touches it.
pub(crate) struct Opaque<'a, T>(Mutex<BoxFuture<'a, T>>);

impl<'a, T> Opaque<'a, T> {
    /// To be called from functions without type parameters: those with some are generated in the
    /// user's crate themselves.
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(Mutex::new(Box::pin(future)))
    }
}

impl<T> Future for Opaque<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.get_mut().0.get_mut().as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Opaque<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opaque").finish_non_exhaustive()
    }
}
