//! Wrappers that decide how a value is printed.

use core::{fmt, marker::PhantomData, ops::Deref};

use iroh::EndpointAddr;

const SHORT_BYTES: usize = 5;

/// Prints the start of something long: the first 5 bytes of an id in hex.
///
/// # Examples
///
/// ```
/// use mosaik::{id, primitives::ShortFmtExt};
///
/// assert_eq!(id!("validator").short().to_string(), "b5f8107ffc");
/// ```
#[derive(Clone, Copy)]
pub struct Short<T>(pub T);

impl<T: AsRef<[u8]>> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref();
        write_hex(f, &bytes[..bytes.len().min(SHORT_BYTES)])
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> Short<T> {
    /// Prints a list of items, each in short form.
    pub const fn iter<I: IntoIterator<Item = T>>(items: I) -> FmtIter<Self, I> {
        FmtIter::new(items)
    }
}

/// `value.short()` for everything that has a short form.
pub trait ShortFmtExt {
    /// This value in its short form.
    fn short(&self) -> Short<&Self>;
}

impl<T> ShortFmtExt for T
where
    for<'a> Short<&'a T>: fmt::Display,
{
    fn short(&self) -> Short<&Self> {
        Short(self)
    }
}

/// Prints bytes in hex; those longer than `LEN` as their first and last `LEN / 2` bytes.
#[derive(Clone, Copy)]
pub struct Abbreviated<const LEN: usize, T>(pub T);

impl<const LEN: usize, T: AsRef<[u8]>> fmt::Display for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref();
        if bytes.len() <= LEN {
            return write_hex(f, bytes);
        }
        write_hex(f, &bytes[..LEN / 2])?;
        f.write_str("..")?;
        write_hex(f, &bytes[bytes.len() - LEN / 2..])
    }
}

impl<const LEN: usize, T: AsRef<[u8]>> fmt::Debug for Abbreviated<LEN, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Prints nothing of a value but `<redacted>`.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `value.redacted()` for everything.
pub trait RedactedFmtExt {
    /// This value, hidden.
    fn redacted(&self) -> Redacted<&Self>;
}

impl<T> RedactedFmtExt for T {
    fn redacted(&self) -> Redacted<&Self> {
        Redacted(self)
    }
}

/// Prints a value for people: an address as its set of addresses, an entry over several lines.
#[allow(
    missing_debug_implementations,
    reason = "Debug is a report that each type defines for itself"
)]
pub struct Pretty<'a, T: ?Sized>(pub &'a T);

impl<T: ?Sized> Clone for Pretty<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Pretty<'_, T> {}

impl<'a, T: ?Sized> Deref for Pretty<'a, T> {
    type Target = &'a T;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a, T: ?Sized> AsRef<&'a T> for Pretty<'a, T> {
    fn as_ref(&self) -> &&'a T {
        &self.0
    }
}

impl<'a, T> Pretty<'a, T> {
    /// Prints a list of items, each in its pretty form.
    pub const fn iter<I: IntoIterator<Item = &'a T>>(items: I) -> FmtIter<Self, I> {
        FmtIter::new(items)
    }
}

impl fmt::Display for Pretty<'_, EndpointAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, addr) in self.0.addrs.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{addr}")?;
        }
        f.write_str("]")
    }
}

/// `value.pretty()` for everything that has a pretty form.
pub trait PrettyFmtExt<'a> {
    /// This value in its pretty form.
    fn pretty(&'a self) -> Pretty<'a, Self>;
}

impl<'a, T: 'a> PrettyFmtExt<'a> for T
where
    Pretty<'a, T>: fmt::Display,
{
    fn pretty(&'a self) -> Pretty<'a, Self> {
        Pretty(self)
    }
}

/// Prints `[a, b, c]`, each item wrapped in `W`: [`Short`], [`Abbreviated`], [`Redacted`] or
/// [`Pretty`].
#[derive(Clone, Copy)]
pub struct FmtIter<W, I>(pub I, PhantomData<fn() -> W>);

impl<W, I> FmtIter<W, I> {
    /// Wraps the items.
    pub const fn new(iter: I) -> Self {
        Self(iter, PhantomData)
    }
}

impl<W, I> fmt::Display for FmtIter<W, I>
where
    I: IntoIterator + Clone,
    W: Wrapper<I::Item> + fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, item) in self.0.clone().into_iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", W::wrap(item))?;
        }
        f.write_str("]")
    }
}

impl<W, I> fmt::Debug for FmtIter<W, I>
where
    Self: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A wrapper that can be put around an item.
#[doc(hidden)]
pub trait Wrapper<T> {
    fn wrap(item: T) -> Self;
}

impl<T> Wrapper<T> for Short<T> {
    fn wrap(item: T) -> Self {
        Self(item)
    }
}

impl<const LEN: usize, T> Wrapper<T> for Abbreviated<LEN, T> {
    fn wrap(item: T) -> Self {
        Self(item)
    }
}

impl<T> Wrapper<T> for Redacted<T> {
    fn wrap(item: T) -> Self {
        Self(item)
    }
}

impl<'a, T: ?Sized> Wrapper<&'a T> for Pretty<'a, T> {
    fn wrap(item: &'a T) -> Self {
        Self(item)
    }
}

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Digest;

    #[test]
    fn forms() {
        let id = Digest::from("validator");
        assert_eq!(id.short().to_string(), "b5f8107ffc");
        assert_eq!(format!("{:?}", Short(&[1u8, 2])), "0102");
        assert_eq!(Abbreviated::<4, _>([1u8, 2, 3, 4]).to_string(), "01020304");
        assert_eq!(
            Abbreviated::<4, _>([1u8, 2, 3, 4, 5]).to_string(),
            "0102..0405"
        );
        assert_eq!(format!("{:?}", "secret".redacted()), "<redacted>");
        assert_eq!(
            Short::iter([id, id]).to_string(),
            "[b5f8107ffc, b5f8107ffc]"
        );
        assert_eq!(
            FmtIter::<Redacted<_>, _>::new([1, 2]).to_string(),
            "[<redacted>, <redacted>]"
        );
    }
}
