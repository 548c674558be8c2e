//! A function's types and id as a value.

use core::{
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

use crate::primitives::{Datum, FunctionId};

/// The types and the id of a function, as a constant that both sides share.
///
/// # Examples
///
/// ```
/// use mosaik::{functions::FunctionDef, id};
///
/// const DOUBLE: FunctionDef<u64, u64> = FunctionDef::with_function_id(id!("example/double"));
/// assert_eq!(DOUBLE.function_id, Some("example/double".into()));
/// ```
pub struct FunctionDef<Req: Datum, Res: Datum, E: Datum = ()> {
    /// The id; `None` derives it from the type names of request and response.
    pub function_id: Option<FunctionId>,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

impl<Req: Datum, Res: Datum, E: Datum> FunctionDef<Req, Res, E> {
    /// A function whose id is derived from its types.
    pub const fn new() -> Self {
        Self {
            function_id: None,
            types: PhantomData,
        }
    }

    /// A function with this id.
    pub const fn with_function_id(id: FunctionId) -> Self {
        Self {
            function_id: Some(id),
            types: PhantomData,
        }
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Default for FunctionDef<Req, Res, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Clone for FunctionDef<Req, Res, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Copy for FunctionDef<Req, Res, E> {}

impl<Req: Datum, Res: Datum, E: Datum> PartialEq for FunctionDef<Req, Res, E> {
    fn eq(&self, other: &Self) -> bool {
        self.function_id == other.function_id
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Eq for FunctionDef<Req, Res, E> {}

impl<Req: Datum, Res: Datum, E: Datum> Hash for FunctionDef<Req, Res, E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function_id.hash(state);
    }
}

impl<Req: Datum, Res: Datum, E: Datum> fmt::Debug for FunctionDef<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionDef")
            .field("function_id", &self.function_id)
            .finish()
    }
}
