//! What a writer takes its chunks from, in order: the journal, and the queue for what could not be
//! written to it; without a journal the queue alone.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, select};

use crate::{
    chunk::Chunk,
    journal::Reader,
    queue::{Inlet, Lane},
};

/// One writer's source of chunks.
pub struct Feed {
    lane: Lane,
    queue: Receiver<Chunk>,
    /// A chunk from the queue, whose turn comes when the journal has been read up to it.
    head: Option<Chunk>,
    order: Order,
}

/// How chunks get their places.
enum Order {
    /// They have them, and most are in the journal.
    Journal(Box<Reader>, Chunk),
    /// As they come out of the queue.
    Queue { next: i64 },
    /// They have them, as parts of something that is read a second time.
    Given,
}

/// What came.
pub enum Next {
    /// A chunk, to be given back with [`Feed::done`].
    Chunk(Chunk),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing will.
    Closed,
}

impl Feed {
    /// Chunks of a queue, numbered as they come.
    #[must_use]
    pub fn of_queue(inlet: Inlet) -> Self {
        Self::new(inlet, Order::Queue { next: 0 })
    }

    /// Chunks of a queue that are numbered already.
    #[must_use]
    pub fn of_numbered(inlet: Inlet) -> Self {
        Self::new(inlet, Order::Given)
    }

    /// Chunks of a journal, and those of a queue that passed it by.
    #[must_use]
    pub fn of_journal(inlet: Inlet, reader: Reader) -> Self {
        Self::new(inlet, Order::Journal(Box::new(reader), Chunk::new()))
    }

    fn new(inlet: Inlet, order: Order) -> Self {
        Self { lane: inlet.lane, queue: inlet.chunks, head: None, order }
    }

    /// Which writer's it is.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether nothing that comes out of it can have been stored before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self.order, Order::Queue { .. })
    }

    /// Whether what comes out of it happens now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.order, Order::Given)
    }

    /// The journal, if there is one.
    pub fn journal(&mut self) -> Option<&mut Reader> {
        match &mut self.order {
            Order::Journal(reader, _) => Some(reader),
            Order::Queue { .. } | Order::Given => None,
        }
    }

    /// Everything that came out of it is stored.
    pub fn stored(&self) {
        if let Order::Journal(reader, _) = &self.order {
            reader.stored();
        }
    }

    /// All before this place has come out of it.
    #[must_use]
    pub fn position(&self) -> i64 {
        match &self.order {
            Order::Journal(reader, _) => reader.position(),
            Order::Queue { next } => *next,
            Order::Given => 0,
        }
    }

    /// Whether everything that was sent has come out of it.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        let is_read = self.journal().is_none_or(|reader| reader.peek().is_none());
        is_read && self.head.is_none() && self.queue.is_empty()
    }

    /// The next chunk; waits for one no longer than `wait`.
    pub fn next(&mut self, wait: Duration) -> Next {
        match &mut self.order {
            Order::Journal(..) => self.next_in_order(wait),
            Order::Queue { next } => match self.queue.recv_timeout(wait) {
                Ok(mut chunk) => {
                    chunk.number(*next);
                    *next += 1;
                    Next::Chunk(chunk)
                }
                Err(error) => Next::from(error),
            },
            Order::Given => match self.queue.recv_timeout(wait) {
                Ok(chunk) => Next::Chunk(chunk),
                Err(error) => Next::from(error),
            },
        }
    }

    /// Takes a chunk back that came out of it.
    pub fn done(&mut self, chunk: Chunk) {
        match &mut self.order {
            Order::Journal(_, spare) if chunk.is_copy() => *spare = chunk,
            _ => self.lane.give_back(chunk),
        }
    }

    /// Whether all that comes out of it, now or later, is in the journal.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match &self.order {
            Order::Journal(reader, _) => {
                self.head.is_none() && self.queue.is_empty() && reader.takes_all()
            }
            Order::Queue { .. } | Order::Given => false,
        }
    }

    /// There is no time left to store what is in the queue. With a journal that is what could not
    /// be written to it, and it is lost.
    pub fn give_up(&mut self) {
        if matches!(self.order, Order::Journal(..)) {
            for chunk in self.head.take().into_iter().chain(self.queue.try_iter()) {
                self.lane.shed(chunk);
            }
        }
    }

    fn next_in_order(&mut self, wait: Duration) -> Next {
        let deadline = Instant::now() + wait;
        loop {
            let Order::Journal(reader, spare) = &mut self.order else { return Next::Closed };
            // Both are sent in the order of their places: a chunk that was in the queue before the
            // journal was looked at comes after all that was not there yet, and the other way round.
            let is_closed = reader.is_closed();
            let mut is_over = false;
            if self.head.is_none() {
                match self.queue.try_recv() {
                    Ok(chunk) => self.head = Some(chunk),
                    Err(error) => is_over = error == TryRecvError::Disconnected,
                }
            }
            let Some(number) = reader.peek() else {
                if let Some(chunk) = self.head.take() {
                    return Next::Chunk(chunk);
                }
                if is_closed {
                    return Next::Closed;
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Next::Nothing;
                }
                let wake = reader.wake();
                if is_over {
                    let _woken = wake.recv_timeout(left);
                } else {
                    select! {
                        recv(wake) -> _ => {},
                        recv(self.queue) -> chunk => self.head = chunk.ok(),
                        default(left) => {},
                    }
                }
                continue;
            };
            if self.head.is_none() {
                self.head = self.queue.try_recv().ok();
            }
            if let Some(head) = self.head.take() {
                if head.place() < number {
                    return Next::Chunk(head);
                }
                self.head = Some(head);
            }
            let mut chunk = std::mem::take(spare);
            match reader.take(&mut chunk) {
                Ok(()) => return Next::Chunk(chunk),
                Err(samples) => {
                    *spare = chunk;
                    self.lane.lost(samples);
                }
            }
        }
    }
}

impl From<RecvTimeoutError> for Next {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Timeout => Self::Nothing,
            RecvTimeoutError::Disconnected => Self::Closed,
        }
    }
}
