//! Arguments that are one value or many.

/// Tells the two implementations of [`IntoIterOrSingle`] apart; always inferred.
#[derive(Debug)]
pub enum Variant<const U: usize = 0> {}

/// "One value that is `Into<T>`" or "anything iterable over values that are `Into<T>`".
///
/// Inference relies on no argument type satisfying both: [`Digest`](crate::Digest) must never gain
/// a `From` implementation for an iterable type.
pub trait IntoIterOrSingle<T, V = Variant<0>> {
    /// The values.
    fn iterator(self) -> impl IntoIterator<Item = T>;
}

impl<T, U: Into<T>> IntoIterOrSingle<T, Variant<0>> for U {
    fn iterator(self) -> impl IntoIterator<Item = T> {
        core::iter::once(self.into())
    }
}

impl<T, U: Into<T>, I: IntoIterator<Item = U>> IntoIterOrSingle<T, Variant<1>> for I {
    fn iterator(self) -> impl IntoIterator<Item = T> {
        self.into_iter().map(Into::into)
    }
}
