//! Context of a call, for the function that serves it.

use crate::tickets::{PeerEntry, PeerInfo};

/// Context of a call, given to a function besides the request.
///
/// # Examples
///
/// Functions can be tested without a network:
///
/// ```
/// use mosaik::{CallContext, Function, id, tickets::PeerEntry};
///
/// struct Greet;
///
/// impl Function for Greet {
///     type Req = String;
///     type Res = String;
///     type Err = ();
///
///     async fn call(&self, name: String, context: CallContext) -> Result<String, ()> {
///         let known = context.caller().tags().contains(&"friend".into());
///         Ok(if known { format!("hi {name}") } else { format!("good day, {name}") })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let friend = PeerEntry::new(id!("network"), mosaik::SecretKey::generate().public())
///     .add_tags("friend");
/// let greeting = Greet.call("Ada".into(), CallContext::new(friend)).await;
/// assert_eq!(greeting.unwrap(), "hi Ada");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CallContext {
    caller: PeerInfo,
}

impl CallContext {
    /// A call by this peer, to test functions without a network.
    pub fn new(caller: PeerEntry) -> Self {
        Self::called_by(PeerInfo::new(caller, None))
    }

    pub(super) const fn called_by(caller: PeerInfo) -> Self {
        Self { caller }
    }

    // Not `const`: the entry is shared with the catalog, so that a call does not copy it.
    /// The caller's entry in this node's catalog at the time of the call. Its peer id is the one
    /// that the transport authenticated.
    pub fn caller(&self) -> &PeerEntry {
        &self.caller
    }

    /// The caller's entry, by value.
    pub fn into_caller(self) -> PeerEntry {
        self.caller.into_entry()
    }
}
