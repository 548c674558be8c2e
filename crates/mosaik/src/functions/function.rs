//! Functions as types, and their ids.

use std::sync::Arc;

use super::CallContext;
use crate::{
    primitives::{Datum, Digest, FunctionId, UniqueId, names},
    tickets::TicketValidator,
};

/// A function with state of its own, built by the program before it is registered.
///
/// It is registered with [`serve_fn`](crate::functions::handler::Builder::serve_fn) and called
/// through [`caller_for`](crate::functions::Functions::caller_for).
///
/// # Examples
///
/// ```
/// use mosaik::{CallContext, Function, Network};
///
/// struct Prices(std::collections::BTreeMap<String, u64>);
///
/// impl Function for Prices {
///     type Req = String;
///     type Res = u64;
///     type Err = String;
///
///     async fn call(&self, item: String, _: CallContext) -> Result<u64, String> {
///         self.0.get(&item).copied().ok_or_else(|| format!("no price for {item}"))
///     }
/// }
///
/// fn serve(network: &Network, prices: Prices) {
///     let handler = network.functions().handler().serve_fn(prices);
///     let caller = network.functions().caller_for::<Prices>().build();
/// #   drop((handler, caller));
/// }
/// ```
pub trait Function: Send + Sync + 'static {
    /// Request of the function.
    type Req: Datum;
    /// Response of the function.
    type Res: Datum;
    /// Error that the function answers instead of a response.
    type Err: Datum;

    /// Runs the function. Any number of calls run at the same time.
    ///
    /// It must not block its thread, or the whole node falls silent, and callers take it for dead
    /// ([`silence_limit`](crate::functions::Config::silence_limit), 0.75 s): work that takes long
    /// without awaiting belongs on `tokio::task::spawn_blocking`.
    ///
    /// The future is dropped at its next await when the caller leaves or gives up, or when the
    /// handler is dropped. A panic stays in this call: its caller is told `HandlerFailure`.
    fn call(
        &self,
        req: Self::Req,
        ctx: CallContext,
    ) -> impl Future<Output = Result<Self::Res, Self::Err>> + Send;

    /// The id under which this function is served unless another one is given.
    ///
    /// The default is a hash of the type names of the function, its request and its response.
    /// Those change with compilers, renames and moves between modules, and the error type isn't
    /// among them: programs that are built separately should agree on an explicit id.
    fn signature() -> UniqueId {
        id_from_names(&[
            core::any::type_name::<Self>(),
            core::any::type_name::<Self::Req>(),
            core::any::type_name::<Self::Res>(),
        ])
    }
}

/// The id of a function that has no name: of its request and response types.
pub(super) fn derived_id<Req, Res>() -> FunctionId {
    let names = [core::any::type_name::<Req>(), core::any::type_name::<Res>()];
    if names.iter().all(|name| names::is_std_type(name)) {
        tracing::warn!(
            request = names[0],
            response = names[1],
            "the id of a function is derived from types that others use as well: give it one with \
             `with_function_id`"
        );
    }
    id_from_names(&names)
}

/// The short names of request and response, for people.
pub(super) fn type_names<Req, Res>() -> String {
    let request = names::short_type_name(core::any::type_name::<Req>());
    let response = names::short_type_name(core::any::type_name::<Res>());
    format!("{request} -> {response}")
}

/// The id under which a function is advertised: other credentials make another function.
pub(super) fn effective_id(
    base: FunctionId,
    caller_auth: &[Arc<dyn TicketValidator>],
    handler_auth: &[Arc<dyn TicketValidator>],
) -> FunctionId {
    let validators = caller_auth.iter().chain(handler_auth);
    validators.fold(base, |id, validator| id.derive(validator.signature()))
}

fn id_from_names(names: &[&str]) -> FunctionId {
    let id = Digest::from_parts(names);
    tracing::debug!(function = %id, ?names, "function id derived from type names");
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id,
        tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass},
    };

    struct Signed(&'static str);

    impl TicketValidator for Signed {
        fn class(&self) -> TicketClass {
            id!("class")
        }
        fn signature(&self) -> UniqueId {
            Digest::from(self.0)
        }
        fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
            Err(InvalidTicket)
        }
    }

    struct Named;

    impl Function for Named {
        type Req = u32;
        type Res = String;
        type Err = u8;

        async fn call(&self, _: u32, _: CallContext) -> Result<String, u8> {
            Err(0)
        }
    }

    #[test]
    fn ids_are_hashes_of_concatenated_names() {
        let (req, res) = (
            core::any::type_name::<u32>(),
            core::any::type_name::<String>(),
        );
        assert_eq!(
            derived_id::<u32, String>(),
            Digest::hash(format!("{req}{res}").as_bytes())
        );
        let name = core::any::type_name::<Named>();
        assert_eq!(
            Named::signature(),
            Digest::hash(format!("{name}{req}{res}").as_bytes())
        );
    }

    #[test]
    fn validators_fold_callers_first_in_order() {
        let base = id!("base");
        let validators = |names: &[&'static str]| -> Vec<Arc<dyn TicketValidator>> {
            names
                .iter()
                .map(|name| Arc::new(Signed(name)) as _)
                .collect()
        };
        assert_eq!(effective_id(base, &[], &[]), base);
        let folded = effective_id(base, &validators(&["a", "b"]), &validators(&["c"]));
        let by_hand = base
            .derive(Digest::from("a"))
            .derive(Digest::from("b"))
            .derive(Digest::from("c"));
        assert_eq!(folded, by_hand);
        let moved = effective_id(base, &validators(&["a"]), &validators(&["b", "c"]));
        assert_eq!(moved, folded, "only the order counts");
        assert_ne!(
            effective_id(base, &validators(&["b", "a"]), &validators(&["c"])),
            folded
        );
    }
}
