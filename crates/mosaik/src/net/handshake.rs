//! The network proof: both ends of a new connection show that they know the same network id,
//! without telling it, before anything else is said.
//!
//! ```text
//! dialer                                    acceptor
//!    │── Hello { version, proof(dialer) } ────►│  checks; else closes with DifferentNetwork (101)
//!    │◄──────────────── proof(acceptor) ───────│
//! ```
//!
//! A proof is a keyed BLAKE3 hash of a secret that only this TLS session has (RFC 5705), so that
//! it is worthless on any other connection. The key is derived from the network id.

use iroh::endpoint::{ApplicationClose, Connection, RecvStream, SendStream};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{
    close::{DifferentNetwork, ProtocolViolation},
    exporter_secret,
    limits::{
        CONNECTION_WINDOW_BYTES, HANDSHAKE_TIMEOUT, MAX_HANDSHAKE_FRAME_BYTES,
        MAX_STREAMS_PER_CONNECTION,
    },
    link::{Frame, FrameBuffer, OpenError, RecvError, begin_frame, finish_frame},
    metrics::Refusal,
};
use crate::primitives::{BytesMut, NetworkId, encoding};

/// Version of everything that follows on the connection.
const WIRE_VERSION: u16 = 1;
const KEY_CONTEXT: &str = "mosaik 2026-11 network proof";
const EXPORTER_LABEL: &[u8] = b"EXPORTER-mosaik-network-proof";

/// The first message of the dialer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    version: u16,
    proof: [u8; 32],
}

/// The acceptor's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    proof: [u8; 32],
}

#[derive(Clone, Copy)]
enum Role {
    Dialer,
    Acceptor,
}

/// Proves this network to the acceptor of a new connection, and has it proven.
pub(super) async fn dial(connection: &Connection, network: &NetworkId) -> Result<(), OpenError> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, dial_steps(connection, network)).await {
        Ok(result) => result,
        Err(_) => Err(OpenError::TimedOut),
    }
}

async fn dial_steps(connection: &Connection, network: &NetworkId) -> Result<(), OpenError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let hello = Hello {
        version: WIRE_VERSION,
        proof: proof(connection, network, Role::Dialer),
    };
    write(&mut send, &hello)
        .await
        .map_err(|_| lost(connection))?;
    let welcome: Welcome = read(&mut recv).await.map_err(|_| lost(connection))?;
    if !matches(&welcome.proof, &proof(connection, network, Role::Acceptor)) {
        let refusal = ApplicationClose::from(DifferentNetwork);
        connection.close(refusal.error_code, &refusal.reason);
        return Err(OpenError::Closed(refusal));
    }
    widen(connection);
    Ok(())
}

/// Gives a proven peer the room of members: until here it could make this node hold a few kilobytes.
fn widen(connection: &Connection) {
    connection.set_receive_window(CONNECTION_WINDOW_BYTES.into());
    connection.set_max_concurrent_bi_streams(MAX_STREAMS_PER_CONNECTION.into());
}

/// Checks the proof of a dialer and answers with this node's own.
pub(super) async fn accept(connection: &Connection, network: &NetworkId) -> Result<(), Refusal> {
    let steps = accept_steps(connection, network);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, steps)
        .await
        .unwrap_or(Err(Refusal::Silent))
}

async fn accept_steps(connection: &Connection, network: &NetworkId) -> Result<(), Refusal> {
    let broken = || match connection.close_reason() {
        Some(_) => Refusal::Unfinished,
        None => Refusal::ProtocolViolation,
    };
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|_| broken())?;
    let hello: Hello = read(&mut recv).await.map_err(|_| broken())?;
    if hello.version != WIRE_VERSION {
        tracing::debug!(peer = %connection.remote_id().fmt_short(), version = hello.version,
            "peer speaks another version of the protocol");
        return Err(Refusal::ProtocolViolation);
    }
    if !matches(&hello.proof, &proof(connection, network, Role::Dialer)) {
        return Err(Refusal::DifferentNetwork);
    }
    // To its end, so that the transport need not ask the dialer to stop: who serves the connection
    // can then tell by that which streams were refused.
    ended(&mut recv).await.map_err(|_| broken())?;
    widen(connection);
    let welcome = Welcome {
        proof: proof(connection, network, Role::Acceptor),
    };
    write(&mut send, &welcome).await.map_err(|_| broken())
}

/// Error for a failed exchange: the peer's close reason, as it has usually closed the connection by
/// then; a protocol violation otherwise.
fn lost(connection: &Connection) -> OpenError {
    connection
        .close_reason()
        .map_or(OpenError::Closed(ProtocolViolation.into()), OpenError::from)
}

fn proof(connection: &Connection, network: &NetworkId, role: Role) -> [u8; 32] {
    let role: &[u8] = match role {
        Role::Dialer => b"dialer",
        Role::Acceptor => b"acceptor",
    };
    let key = blake3::derive_key(KEY_CONTEXT, network.as_bytes());
    // Fails only for outputs that are far longer; a random value then proves nothing.
    let secret = exporter_secret(connection, EXPORTER_LABEL).unwrap_or_else(rand::random);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&secret).update(role);
    hasher.finalize().into()
}

fn matches(received: &[u8; 32], expected: &[u8; 32]) -> bool {
    received.ct_eq(expected).into()
}

async fn write<T: Serialize>(stream: &mut SendStream, message: &T) -> Result<(), RecvError> {
    let mut buffer = BytesMut::new();
    let start = begin_frame(&mut buffer);
    encoding::serialize_into(message, &mut buffer)
        .map_err(|error| RecvError::Decode(Box::new(error)))?;
    let max = MAX_HANDSHAKE_FRAME_BYTES;
    finish_frame(&mut buffer, start, max).map_err(|len| RecvError::FrameTooLarge { len, max })?;
    stream
        .write_all(&buffer)
        .await
        .map_err(|error| RecvError::Unknown(error.into()))?;
    // Fails only when the stream is closed already.
    let _ = stream.finish();
    Ok(())
}

async fn ended(stream: &mut RecvStream) -> Result<(), RecvError> {
    match stream.read_chunk(1).await? {
        None => Ok(()),
        Some(_) => Err(RecvError::Decode("there is more than one message".into())),
    }
}

async fn read<T: serde::de::DeserializeOwned>(stream: &mut RecvStream) -> Result<T, RecvError> {
    let mut buffer = FrameBuffer::new(MAX_HANDSHAKE_FRAME_BYTES);
    loop {
        match buffer.pop()? {
            Some(Frame::Data(payload)) => {
                return encoding::deserialize(payload)
                    .map_err(|error| RecvError::Decode(Box::new(error)));
            }
            Some(Frame::Close(reason)) => return Err(RecvError::Closed(reason)),
            None => {}
        }
        match stream.read_chunk(MAX_HANDSHAKE_FRAME_BYTES).await? {
            Some(chunk) => buffer.extend(&chunk),
            None => return Err(RecvError::Closed(super::close::UnexpectedClose.into())),
        }
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
