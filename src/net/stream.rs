//! The protocol `/musig/1`: frames on one long-lived stream for each direction.
//!
//! A frame is a 4-byte big-endian length of the payload, one byte of kind, and the payload: 0 presence, 1 session frame,
//! 2 first contact; empty ones, 3 asks for a sign of life and 4 gives it. Each side opens one stream on each connection.
//! It begins with 8 bytes, big-endian: the number of session frames that it sent to this peer before, on other streams. Then
//! comes the first contact (kind 2), its presence once it shows itself, and session frames only after that. With several
//! connections each side writes on one at a time, and ends the old stream before it goes on with another; by the number the
//! reader knows what to wait for, and the order holds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::sync::{mpsc, oneshot, watch};

use super::contact::{Contact, VERSION};
use super::counters::count;
use super::liveness::Activity;
use super::message::{NetEvent, Received};
use super::outbox::{Next, Outbox};
use super::presence::PresenceRecord;
use super::rate::{Came, Paces};
use super::shared::Shared;
use crate::protocol::limits;
use crate::types::SignerKey;

const PRESENCE: u8 = 0;
const SESSION: u8 = 1;
const CONTACT: u8 = 2;
const QUESTION: u8 = 3;
const ANSWER: u8 = 4;
const HEADER: usize = 5;
/// Memory for a frame grows by this much, as its bytes arrive.
const CHUNK: usize = 64 << 10;
/// Bytes that may take one `frame_timeout`.
const TIMED: usize = 256 << 10;
/// How many times faster a frame must arrive while others wait for the bytes of the budget that it takes.
const CONTENDED_SPEED: u32 = 16;
/// Frames that are written together if they wait together.
const BATCH: usize = 16 << 10;
/// How long a stream waits for the frames of earlier streams. On a dead connection they do not come.
const PREDECESSORS: Duration = Duration::from_millis(500);

/// A report of a stream's task to the driver.
pub(super) enum Report {
    /// An authentic presence of the peer itself. The reader waits until it is resumed.
    Presence { peer: PeerId, record: PresenceRecord, bytes: Vec<u8>, resume: oneshot::Sender<()> },
    /// The peer says whom it looks for.
    Contact { peer: PeerId, contact: Contact },
    /// The peer broke the protocol.
    Violation { peer: PeerId, activity: Arc<Activity>, what: &'static str },
    /// The stream was read to its end.
    ReaderEnded { peer: PeerId, connection: ConnectionId },
    /// The stream could not be written.
    WriterFailed { peer: PeerId, connection: ConnectionId },
}

/// The task that writes what waits for a peer to a stream, until another writer takes over or the peer is gone.
pub(super) struct Writer {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) number: u64,
    /// Session frames before this stream.
    pub(super) start: u64,
    /// What is said first.
    pub(super) contacts: Vec<Contact>,
    /// If the peer is shown one.
    pub(super) presence: Option<Arc<[u8]>>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) activity: Arc<Activity>,
    pub(super) shared: Arc<Shared>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Writer {
    pub(super) async fn run<S: AsyncWrite + Unpin>(self, mut stream: S) {
        self.outbox.writer_began();
        let written = self.write(&mut stream).await;
        let closed = match written {
            Ok(()) => stream.close().await,
            Err(error) => Err(error),
        };
        self.outbox.writer_ended();
        if closed.is_err() {
            let report = Report::WriterFailed { peer: self.peer, connection: self.connection };
            let _ = self.reports.send(report).await;
        }
    }

    async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> std::io::Result<()> {
        let mut batch = self.start.to_be_bytes().to_vec();
        for contact in &self.contacts {
            append(&mut batch, CONTACT, &contact.encode());
        }
        if let Some(presence) = &self.presence {
            append(&mut batch, PRESENCE, presence);
        }
        let mut presented = self.presence.is_some();
        loop {
            let changed = self.outbox.changed();
            let next = self.outbox.next(self.number, presented);
            match next {
                Next::Contact(ref frame) | Next::Presence(ref frame) | Next::Frame(ref frame) => {
                    let kind = match next {
                        Next::Contact(_) => CONTACT,
                        Next::Presence(_) => {
                            presented = true;
                            PRESENCE
                        }
                        _ => {
                            count(&self.shared.counters.frames_out, 1);
                            count(&self.shared.counters.bytes_out, frame.len());
                            SESSION
                        }
                    };
                    if frame.len() < BATCH {
                        append(&mut batch, kind, frame);
                    } else {
                        batch.extend_from_slice(&header(kind, frame.len()));
                        self.put(stream, &batch).await?;
                        batch.clear();
                        self.put(stream, frame).await?;
                    }
                    if batch.len() >= BATCH {
                        self.put(stream, &batch).await?;
                        batch.clear();
                    }
                }
                Next::Question => append(&mut batch, QUESTION, &[]),
                Next::Answer => append(&mut batch, ANSWER, &[]),
                Next::Wait | Next::End => {
                    self.put(stream, &batch).await?;
                    batch.clear();
                    stream.flush().await?;
                    if matches!(next, Next::End) {
                        return Ok(());
                    }
                    changed.await;
                }
            }
        }
    }

    /// Writes bytes. A write that succeeds at once proves nothing about the other side: on a dead connection it goes
    /// into buffers. Only one that had to wait is activity.
    async fn put<S: AsyncWrite + Unpin>(&self, stream: &mut S, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let chunk = &bytes[..bytes.len().min(CHUNK)];
            let mut waited = false;
            let written = std::future::poll_fn(|context| {
                let polled = Pin::new(&mut *stream).poll_write(context, chunk);
                waited |= polled.is_pending();
                polled
            })
            .await?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            if waited {
                self.activity.touch();
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let length = u32::try_from(length).expect("frames are limited to a few MiB").to_be_bytes();
    [length[0], length[1], length[2], length[3], kind]
}

fn append(batch: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    batch.extend_from_slice(&header(kind, payload.len()));
    batch.extend_from_slice(payload);
}

/// The task that reads the frames of one stream of a peer.
pub(super) struct Reader {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    /// Session frames of this peer that were delivered, on all streams.
    pub(super) delivered: Arc<watch::Sender<u64>>,
    /// Where what the peer asks for is answered.
    pub(super) outbox: Arc<Outbox>,
    pub(super) activity: Arc<Activity>,
    pub(super) paces: Arc<Paces>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<NetEvent>,
    pub(super) reports: mpsc::Sender<Report>,
}

enum Ended {
    /// The stream, the connection or this node ended.
    Stream,
    Violation(&'static str),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Stream
    }
}

/// The driver or the receiver of the events is gone.
impl<T> From<mpsc::error::SendError<T>> for Ended {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Stream
    }
}

impl Reader {
    pub(super) async fn run<S: AsyncRead + Unpin>(self, mut stream: S) {
        let Err(ended) = self.read(&mut stream).await;
        let report = match ended {
            Ended::Violation(what) => {
                Report::Violation { peer: self.peer, activity: self.activity.clone(), what }
            }
            Ended::Stream => Report::ReaderEnded { peer: self.peer, connection: self.connection },
        };
        let _ = self.reports.send(report).await;
    }

    async fn read<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<std::convert::Infallible, Ended> {
        let mut accepted: Option<PresenceRecord> = None;
        let mut start = [0; 8];
        stream.read_exact(&mut start).await?;
        let start = u64::from_be_bytes(start);
        let mut number = start;
        let mut first = true;
        loop {
            let (kind, received) =
                self.read_frame(stream, accepted.as_ref().map(|record| record.signer)).await?;
            let came = match kind {
                SESSION => Came::Frame(received.len()),
                PRESENCE => Came::Presence,
                QUESTION | ANSWER => Came::SignOfLife,
                _ => Came::Contact,
            };
            let wait = self.paces.spend(came, Instant::now());
            if !wait.is_zero() {
                count(&self.shared.counters.throttled, 1);
                tokio::time::sleep(wait).await;
            }
            match (kind, &accepted) {
                (CONTACT, _) => {
                    let contact = Contact::decode(&received);
                    let contact = contact.ok_or(Ended::Violation("an invalid first contact"))?;
                    let understood = contact.version == VERSION;
                    self.reports.send(Report::Contact { peer: self.peer, contact }).await?;
                    if !understood {
                        return self.ignore(stream).await;
                    }
                }
                // That it came is all that it says.
                (ANSWER, _) => {}
                (QUESTION, _) => self.outbox.answer(),
                (PRESENCE, None) if first && received.is_empty() => {}
                (PRESENCE, _) => accepted = Some(self.accept(received.into_vec()).await?),
                (_, Some(record)) => {
                    if number == start {
                        self.predecessors(start).await;
                    }
                    count(&self.shared.counters.frames_in, 1);
                    count(&self.shared.counters.bytes_in, received.len());
                    self.events.send(NetEvent::Frame { from: record.signer, frame: received }).await?;
                    number = number.wrapping_add(1);
                    self.delivered.send_replace(number);
                }
                (_, None) => return Err(Ended::Violation("a session frame before the presence")),
            }
            first = false;
        }
    }

    /// Reads to the end what this version does not understand: the peer is to hear of the own version before it sees an end.
    async fn ignore<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<std::convert::Infallible, Ended> {
        let mut ignored = [0; 1024];
        while stream.read(&mut ignored).await? > 0 {}
        Err(Ended::Stream)
    }

    /// Waits until the frames before this stream's were delivered, but not for long.
    async fn predecessors(&self, start: u64) {
        let mut delivered = self.delivered.subscribe();
        let all = delivered.wait_for(|delivered| *delivered >= start);
        let _ = tokio::time::timeout(PREDECESSORS, all).await;
    }

    async fn accept(&self, bytes: Vec<u8>) -> Result<PresenceRecord, Ended> {
        let record = PresenceRecord::decode(&bytes).map_err(|_| Ended::Violation("an invalid presence"))?;
        if record.peer != self.peer {
            return Err(Ended::Violation("the presence of another peer"));
        }
        let (resume, answer) = oneshot::channel();
        self.reports
            .send(Report::Presence { peer: self.peer, record: record.clone(), bytes, resume })
            .await?;
        answer.await.map_err(|_| Ended::Stream)?;
        Ok(record)
    }

    /// Reads one frame. Memory is taken as bytes arrive, and the large ones of all peers share a budget.
    async fn read_frame<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        signer: Option<SignerKey>,
    ) -> Result<(u8, Received), Ended> {
        let mut header = [0; HEADER];
        // A stream may be idle for ever between frames, and only there.
        stream.read_exact(&mut header[..1]).await?;
        self.moved(signer);
        self.timely(Duration::ZERO, stream.read_exact(&mut header[1..])).await?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = header[4];
        let most = match (kind, signer) {
            (PRESENCE | CONTACT, _) | (SESSION, None) => limits::PRESENCE,
            (SESSION, Some(_)) => limits::FRAME,
            (QUESTION | ANSWER, Some(_)) => 0,
            _ => return Err(Ended::Violation("a frame of unknown kind")),
        };
        if length > most {
            return Err(Ended::Violation("a frame above the limit"));
        }

        // An announced length alone takes nothing of the budget: the first bytes must come before.
        let mut bytes = Vec::new();
        let begin = self.read_payload(stream, &mut bytes, length.min(CHUNK), signer);
        self.timely(Duration::ZERO, begin).await?;
        if length <= CHUNK {
            return Ok((kind, Received::new(bytes, None)));
        }
        let room = self.shared.budget.take(length as u32).await;
        let timed = (length / TIMED) as u32;
        let timeout = self.shared.config.frame_timeout;
        let more = timeout.saturating_mul(timed);
        let rest = self.read_payload(stream, &mut bytes, length, signer);
        tokio::select! {
            read = self.timely(more, rest) => read?,
            () = self.shared.budget.wanted_after(timeout.saturating_add(more) / CONTENDED_SPEED) => {
                return Err(Ended::Violation("a slow frame that holds up others"));
            }
        }
        Ok((kind, Received::new(bytes, room)))
    }

    /// Reads until there are `length` bytes.
    async fn read_payload<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        bytes: &mut Vec<u8>,
        length: usize,
        signer: Option<SignerKey>,
    ) -> std::io::Result<()> {
        while bytes.len() < length {
            let begin = bytes.len();
            bytes.resize(begin + CHUNK.min(length - begin), 0);
            stream.read_exact(&mut bytes[begin..]).await?;
            self.moved(signer);
        }
        Ok(())
    }

    async fn timely<T>(
        &self,
        more: Duration,
        read: impl Future<Output = std::io::Result<T>>,
    ) -> Result<T, Ended> {
        let most = self.shared.config.frame_timeout.saturating_add(more);
        match tokio::time::timeout(most, read).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(Ended::Violation("a frame that does not arrive")),
        }
    }

    fn moved(&self, signer: Option<SignerKey>) {
        if self.activity.heard()
            && let Some(key) = signer
        {
            let _ = self.events.try_send(NetEvent::Heard { key });
        }
    }
}
