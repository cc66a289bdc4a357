//! The thread that owns the engine, and the handle by which requests reach it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parsimon::model::{Engine, Event, FinishReason, ModelError, Request, RequestId, SampledToken, Usage};
use parsimon::tensor::Diagnose;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc as channel, oneshot};

use super::errors::ApiError;
use super::metrics::Metrics;

/// Sends requests to the engine. Clones share the queue.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    /// One permit a sequence that waits or runs.
    permits: Arc<Semaphore>,
    capacity: usize,
    tickets: Arc<AtomicU64>,
    /// Held by the thread alone.
    alive: Weak<()>,
}

enum Command {
    Submit { ticket: u64, request: Box<Request>, sink: Sink },
    Cancel { ticket: u64 },
    Embed { tokens: Vec<u32>, answer: oneshot::Sender<Result<Vec<f32>, ModelError>>, permit: OwnedSemaphorePermit },
}

/// What a sequence has to tell.
pub(crate) enum Output {
    Token(SampledToken),
    Finished(FinishReason, Usage),
    Failed(ModelError),
}

/// Where the outputs of a sequence go, and when they came.
struct Sink {
    index: usize,
    outputs: channel::UnboundedSender<(usize, Output)>,
    submitted: Instant,
    last_token: Option<Instant>,
    /// Held until the engine is done with the sequence.
    _permit: OwnedSemaphorePermit,
}

/// Sequences that run for one response. Dropping it cancels those that are not done.
pub(crate) struct Run {
    commands: mpsc::Sender<Command>,
    outputs: channel::UnboundedReceiver<(usize, Output)>,
    /// By index; `None` when the sequence is done.
    tickets: Vec<Option<u64>>,
}

impl EngineHandle {
    /// Starts the thread. At most `capacity` sequences wait and run.
    pub(crate) fn start(engine: Engine, capacity: usize, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (commands, receiver) = mpsc::channel();
        let life = Arc::new(());
        let alive = Arc::downgrade(&life);
        let driver =
            Driver { engine, metrics, sinks: HashMap::new(), requests: HashMap::new(), embeds: VecDeque::new() };
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            driver.run(&receiver);
            drop(life);
        })?;
        let tickets = Arc::new(AtomicU64::new(0));
        Ok(EngineHandle { commands, permits: Arc::new(Semaphore::new(capacity)), capacity, tickets, alive })
    }

    /// Whether nothing waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.permits.available_permits() == self.capacity
    }

    /// Whether the thread still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.strong_count() > 0
    }

    fn admit(&self, sequences: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        if sequences > self.capacity {
            let message = format!("{sequences} sequences are asked for, this server queues at most {}", self.capacity);
            return Err(ApiError::invalid(message));
        }
        let permits = u32::try_from(sequences).map_err(|_| ApiError::busy())?;
        Arc::clone(&self.permits).try_acquire_many_owned(permits).map_err(|_| ApiError::busy())
    }

    /// Queues all requests or none.
    pub(crate) fn submit(&self, requests: Vec<Request>) -> Result<Run, ApiError> {
        let mut permits = self.admit(requests.len())?;
        let (sender, outputs) = channel::unbounded_channel();
        let mut run = Run { commands: self.commands.clone(), outputs, tickets: Vec::new() };
        for (index, request) in requests.into_iter().enumerate() {
            let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
            let _permit = permits.split(1).expect("a permit was taken for every request");
            let (outputs, submitted) = (sender.clone(), Instant::now());
            let sink = Sink { index, outputs, submitted, last_token: None, _permit };
            run.tickets.push(Some(ticket));
            self.send(Command::Submit { ticket, request: Box::new(request), sink })?;
        }
        Ok(run)
    }

    /// The embedding of a text.
    pub(crate) async fn embed(&self, tokens: Vec<u32>) -> Result<Vec<f32>, ApiError> {
        let permit = self.admit(1)?;
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Embed { tokens, answer, permit })?;
        let result = receiver.await.map_err(|_| stopped())?;
        result.map_err(|e| refused(&e))
    }

    fn send(&self, command: Command) -> Result<(), ApiError> {
        self.commands.send(command).map_err(|_| stopped())
    }
}

fn stopped() -> ApiError {
    ApiError::unavailable("the engine has stopped")
}

/// An error of the engine about one request.
pub(crate) fn refused(error: &ModelError) -> ApiError {
    if error.is_bad_input() { ApiError::invalid(error.to_string()) } else { ApiError::internal(error.to_string()) }
}

impl Run {
    /// The next output with the index of its sequence; `None` when all are done.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Output)>, ApiError> {
        if self.tickets.iter().all(Option::is_none) {
            return Ok(None);
        }
        let (index, output) = self.outputs.recv().await.ok_or_else(stopped)?;
        if !matches!(output, Output::Token(_)) {
            self.tickets[index] = None;
        }
        Ok(Some((index, output)))
    }

    /// Ends a sequence early; its last output still comes.
    pub(crate) fn cancel(&self, index: usize) {
        if let Some(ticket) = self.tickets[index] {
            // Without an engine there is nothing to cancel.
            let _ = self.commands.send(Command::Cancel { ticket });
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        (0..self.tickets.len()).for_each(|index| self.cancel(index));
    }
}

/// The thread's side.
struct Driver {
    engine: Engine,
    metrics: Arc<Metrics>,
    sinks: HashMap<RequestId, (u64, Sink)>,
    requests: HashMap<u64, RequestId>,
    embeds: VecDeque<Embed>,
}

struct Embed {
    tokens: Vec<u32>,
    answer: oneshot::Sender<Result<Vec<f32>, ModelError>>,
    _permit: OwnedSemaphorePermit,
}

impl Driver {
    /// Steps while there is work, sleeps while there is none, and returns when every handle is gone.
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut events = Vec::new();
        loop {
            if self.engine.is_idle() && self.embeds.is_empty() {
                self.metrics.set_engine(self.engine.stats());
                let Ok(command) = commands.recv() else { return };
                self.take(command);
            }
            while let Ok(command) = commands.try_recv() {
                self.take(command);
            }
            // One text between two steps, so that running sequences wait little.
            if let Some(embed) = self.embeds.pop_front()
                && !embed.answer.is_closed()
            {
                let embedding = self.engine.model().embed_text(&embed.tokens);
                let _ = embed.answer.send(embedding);
            }
            if let Err(e) = self.engine.step(&mut events) {
                tracing::error!("the engine stops: {e}");
                return;
            }
            for event in events.drain(..) {
                self.route(event);
            }
            self.metrics.set_engine(self.engine.stats());
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit { ticket, request, sink } => match self.engine.submit(*request) {
                Ok(id) => {
                    self.requests.insert(ticket, id);
                    self.sinks.insert(id, (ticket, sink));
                }
                Err(error) => _ = sink.outputs.send((sink.index, Output::Failed(error))),
            },
            Command::Cancel { ticket } => {
                if let Some(&id) = self.requests.get(&ticket) {
                    self.engine.cancel(id);
                }
            }
            Command::Embed { tokens, answer, permit } => {
                self.embeds.push_back(Embed { tokens, answer, _permit: permit });
            }
        }
    }

    /// Hands an event to its response. That nobody reads it any more is no matter: the cancel is on its way.
    fn route(&mut self, event: Event) {
        let (id, output) = match event {
            Event::Token { request, token } => {
                let Some((_, sink)) = self.sinks.get_mut(&request) else { return };
                self.metrics.token(sink.submitted, sink.last_token.replace(Instant::now()));
                let _ = sink.outputs.send((sink.index, Output::Token(token)));
                return;
            }
            Event::Finished { request, reason, usage } => (request, Output::Finished(reason, usage)),
            Event::Failed { request, error } => (request, Output::Failed(error)),
        };
        let Some((ticket, sink)) = self.sinks.remove(&id) else { return };
        self.requests.remove(&ticket);
        self.metrics.finished(&output);
        let _ = sink.outputs.send((sink.index, output));
    }
}
