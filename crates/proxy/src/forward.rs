//! What happens to a request: choose a backend, wait for one if there is none, send, try elsewhere if that is safe.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use tokio::time::timeout_at;

use crate::admission::{Claim, Queued, claim};
use crate::attempt::{Answer, Attempt, attempt, http2};
use crate::body::{ClientFault, Quiet, RequestBody, ResponseBody};
use crate::cache::{Lookup, Reply};
use crate::choice::Choice;
use crate::connection::ClientConnection;
use crate::control::Upstream;
use crate::exchange::{Exchange, own_response};
use crate::headers::{announce_trailers, is_grpc, prepare_request, prepare_response};
use crate::hold::{Grant, Ticket};
use crate::lease::Lease;
use crate::observe::Watch;
use crate::tunnel::{Upgrade, tunnel};
use crate::view::ShardRoute;
use crate::wish::Wish;

/// Serves one request of one client connection.
///
/// All that needs no waiting is done before the future is made, and boxed. That keeps it small, and it is copied into its
/// connection's state for every request.
pub(crate) fn serve(
    client: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let arrived = Instant::now();
    let mut prepared = Prepared::new(client, request, arrived);
    async move {
        // Worked on in place: moving it out would keep a second copy in the future.
        let answer = match prepared.as_deref_mut() {
            Some(Prepared { refused: None, exchange, route, request, wish, lookup, .. }) => {
                let wish = wish.as_deref();
                let mut answer = match lookup {
                    None => search(exchange, wish, route, request).await,
                    Some(lookup) => Box::pin(lookup.answer(exchange, wish, route, request)).await,
                };
                if let (Some(wish), Ok(answer)) = (wish, &mut answer) {
                    settle(wish, route, answer);
                }
                answer
            }
            Some(Prepared { refused: Some(refusal), .. }) => Err(Failure::Refused(*refusal)),
            None => Err(NO_ROUTE),
        };
        Ok(match (prepared, answer) {
            (Some(prepared), answer) => {
                let Prepared { exchange, upgrade, lookup, .. } = *prepared;
                let response = conclude(exchange, answer, upgrade);
                match lookup {
                    None => response,
                    Some(lookup) => lookup.finish(response),
                }
            }
            (None, _) => own_response(StatusCode::SERVICE_UNAVAILABLE, "no route\n"),
        })
    }
}

/// A request as it is to be sent, or why it is not.
struct Prepared {
    route: Rc<ShardRoute>,
    exchange: Exchange,
    request: Option<Request<RequestBody>>,
    refused: Option<Refusal>,
    /// What the client asks its connection to become. Boxed because it is rare: see `serve`.
    upgrade: Option<Box<Upgrade>>,
    /// Where the request should go, if the route's balancing asks.
    wish: Option<Box<Wish>>,
    /// Its way through the route's cache.
    lookup: Option<Box<Lookup>>,
}

/// Why a request is not passed on, and whether its connection has to end: what follows on it may be an attack's second half.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    closes: bool,
}

impl Prepared {
    /// Nothing if there is no route.
    fn new(
        client: &Rc<ClientConnection>,
        mut request: Request<Incoming>,
        arrived: Instant,
    ) -> Option<Box<Self>> {
        let route = client.route()?;
        let mut exchange = Exchange::begin(client, &route, arrived);
        let is_connect = request.method() == Method::CONNECT;
        let may_switch = is_connect || request.headers().contains_key(UPGRADE);
        let client_side = may_switch.then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let version = parts.version;
        let protocols = &route.spec.protocols;
        if protocols.upstream == Upstream::Http2 && is_grpc(&parts.headers) {
            exchange.speaks_grpc();
        }
        let names = client.names();
        let prepared = prepare_request(&mut parts, &names, protocols);
        let (upgrade, refused) = match prepared {
            Ok(None) => (None, None),
            Ok(Some(protocol)) => {
                (client_side.map(|client_side| Box::new(Upgrade { client_side, protocol, is_connect })), None)
            }
            Err(status) => (None, Some(status)),
        };
        // hyper counts the fields of HTTP/1.1 itself.
        let too_many = version == Version::HTTP_2 && parts.headers.len() > client.shard().headers_max();
        let too_long = protocols.body_bytes_max.is_some_and(|max| body.size_hint().lower() > max);
        let refused = match (too_many, too_long) {
            (true, _) => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            (_, true) => Some(StatusCode::PAYLOAD_TOO_LARGE),
            _ => refused,
        };
        // The requests of HTTP/2 lie in frames of their own.
        let refused = refused.map(|status| Refusal { status, closes: version != Version::HTTP_2 });
        let wish = Wish::read(&route, &parts, &names);
        let body = RequestBody::new(body, &route, client);
        if let Some(observer) = &route.observer {
            let mut watch = Watch::begin(observer, client, &mut parts, version);
            watch.uploads(body.upload());
            exchange.observe(Some(watch));
        }
        if !body.is_end_stream()
            && protocols.upstream == Upstream::Http1
            && body.size_hint().exact().is_none()
        {
            // Else hyper would send a GET without its body.
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let lookup = match refused {
            None if route.cache.is_some() => Lookup::new(&route, &parts, &body, may_switch),
            None | Some(_) => None,
        };
        Some(Box::new(Self {
            route,
            exchange,
            request: Some(Request::from_parts(parts, body)),
            refused,
            upgrade,
            wish,
            lookup,
        }))
    }
}

/// Has a backend answer a request.
pub(crate) async fn search(
    exchange: &Exchange,
    wish: Option<&Wish>,
    route: &Rc<ShardRoute>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Box<Answer>, Failure> {
    route.deposit();
    Dispatch::new(exchange, wish).run(Rc::clone(route), request).await
}

/// Tells a sticky client which backend answered.
fn settle(wish: &Wish, route: &ShardRoute, answer: &mut Answer) {
    if let Some(sticky) = &route.spec.balancing.sticky {
        wish.settle(sticky, &answer.lease.backend().state, answer.response.headers_mut());
    }
}

/// Turns what came of the search into a response.
pub(crate) fn conclude(
    exchange: Exchange,
    answer: Result<Box<Answer>, Failure>,
    upgrade: Option<Box<Upgrade>>,
) -> Response<ResponseBody> {
    match (answer, upgrade) {
        (Ok(answer), upgrade) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            match upgrade {
                Some(upgrade) => tunnel(*upgrade, exchange, answer),
                // A backend must not switch protocols unasked: what follows would be read as something else.
                None => exchange.answer(StatusCode::BAD_GATEWAY, "unexpected switch of protocols\n"),
            }
        }
        // A client that has asked by CONNECT would take it for consent.
        (Ok(answer), Some(upgrade)) if upgrade.is_connect && answer.response.status().is_success() => {
            exchange.answer(StatusCode::BAD_GATEWAY, "the backend does not switch protocols\n")
        }
        (Ok(answer), _) => deliver(exchange, answer),
        (Err(Failure::NoCapacity(text)), _) => exchange.reject(text, None),
        (Err(Failure::TooLate(wait)), _) => exchange.reject(TOO_LATE, Some(wait)),
        (Err(Failure::Status(status, text)), _) => exchange.answer(status, text),
        (Err(Failure::Refused(Refusal { status, closes })), _) => {
            let mut response = exchange.answer(status, "the request cannot be passed on\n");
            if closes {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        (Err(Failure::Kept(reply)), _) => reply.deliver(exchange),
    }
}

/// Passes a backend's response on.
fn deliver(exchange: Exchange, answer: Box<Answer>) -> Response<ResponseBody> {
    let Answer { response, headed, lease } = *answer;
    let idle = exchange.body_idle();
    let (mut parts, body) = response.into_parts();
    prepare_response(&mut parts.headers);
    if parts.version == Version::HTTP_2 {
        announce_trailers(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    let mut delivery = exchange.deliver(parts.status, headed, lease);
    if body.is_end_stream() {
        delivery.ended();
    }
    Response::from_parts(parts, ResponseBody::Backend(Box::new((Quiet::new(body, idle), delivery))))
}

/// Why a request got no answer from a backend.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It found no capacity.
    NoCapacity(&'static str),
    /// Its turn would come in so long, which is too late.
    TooLate(Duration),
    /// It must not be passed on.
    Refused(Refusal),
    /// Something else.
    Status(StatusCode, &'static str),
    /// It needs none: this was kept.
    Kept(Box<Reply>),
}

impl Failure {
    /// What the client would be told, where it is a failure.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::NoCapacity(_) | Self::TooLate(_) => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::Status(status, _) | Self::Refused(Refusal { status, .. }) => Some(*status),
            Self::Kept(_) => None,
        }
    }
}

/// The search for an answer to one request.
pub(crate) struct Dispatch<'a> {
    exchange: &'a Exchange,
    /// Backends that failed it.
    avoid: Vec<u64>,
    hold: Option<Hold>,
    /// What it needs, where the route admits requests by cost.
    claim: Option<Box<Claim>>,
    /// Its class, where the route sheds by it.
    class: u8,
    wish: Option<&'a Wish>,
}

/// A request's place among the waiting.
struct Hold {
    ticket: Ticket,
    began: Instant,
    _queued: Option<Queued>,
}

impl Hold {
    /// Whether it is in the room of this route: the address may have changed hands since.
    fn is_for(&self, route: &ShardRoute) -> bool {
        Arc::ptr_eq(self.ticket.route(), &route.state)
    }
}

impl<'a> Dispatch<'a> {
    pub(crate) fn new(exchange: &'a Exchange, wish: Option<&'a Wish>) -> Self {
        Self { exchange, avoid: Vec::new(), hold: None, wish, claim: None, class: 0 }
    }

    async fn run(
        &mut self,
        mut route: Rc<ShardRoute>,
        request: &mut Option<Request<RequestBody>>,
    ) -> Result<Box<Answer>, Failure> {
        let shard = self.exchange.client().shard();
        let mut now = self.exchange.arrived();
        let mut is_repeated = false;
        if route.costs.is_some() {
            self.claim =
                Box::pin(claim(&route, request)).await.map_err(|error| undelivered((&error).into()))?;
        }
        if let Some(shedding) = &route.spec.shedding {
            self.class = shedding.class_of(request.as_ref());
        }
        loop {
            let choice = match self.pick(&route, now) {
                Some(choice) => choice,
                // Boxed, as everything rare is: every request's future is copied into its connection once, in full size.
                None => match Box::pin(self.wait(&route)).await.inspect_err(|_| self.shed(&route))? {
                    Some(choice) => choice,
                    None => {
                        (route, now) = (self.refresh()?, Instant::now());
                        continue;
                    }
                },
            };
            now = self.end_hold().unwrap_or(now);
            if let Some(charge) = &choice.charge {
                shard.watch(charge);
            }
            let attempted = match route.spec.protocols.upstream {
                Upstream::Http1 => attempt(shard, &route, choice, request, now).await,
                Upstream::Http2 => Box::pin(http2::attempt(shard, &route, choice, request, now)).await,
            };
            let lease = match attempted {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::NotSent(lease) => lease,
                Attempt::Broken(lease) if request.is_some() && !is_repeated => {
                    is_repeated = true;
                    lease
                }
                Attempt::Broken(_) => return Err(BROKEN),
                Attempt::TimedOut => return Err(TIMED_OUT),
                Attempt::ClientFault(fault) => return Err(undelivered(fault)),
            };
            now = Instant::now();
            if !self.may_retry(&route, now) {
                return Err(BROKEN);
            }
            self.retry(lease);
            route = self.refresh()?;
        }
    }

    /// A usable backend, those that failed it only when there is no other; none if it has to wait.
    pub(crate) fn pick(&self, route: &ShardRoute, now: Instant) -> Option<Choice> {
        let Some(claim) = self.claim.as_deref().filter(|_| route.costs.is_some()) else {
            if self.hold.is_none()
                && route.spec.shedding.is_some()
                && route.state.waiting.is_before(self.class)
            {
                return None;
            }
            return route.choose(now, &self.avoid, self.wish, || self.exchange.client().shard().random());
        };
        // Whoever was made to look may find that a more important one has come meanwhile.
        let others_first = match &self.hold {
            Some(hold) if hold.is_for(route) => !hold.ticket.is_first(),
            Some(_) | None => route.must_queue(claim),
        };
        if others_first {
            return None;
        }
        let waited = now.saturating_duration_since(self.exchange.arrived());
        route.place(now, (&self.avoid, self.wish), claim, waited)
    }

    /// How long it may wait.
    fn patience(&self, route: &ShardRoute) -> Duration {
        let class = self.claim.as_ref().and_then(|claim| claim.deadline(route));
        let shedding = route.spec.shedding.as_ref();
        let class = class.or_else(|| shedding.and_then(|shedding| shedding.class(self.class)?.deadline));
        class.unwrap_or(route.spec.hold)
    }

    /// It found no capacity.
    fn shed(&self, route: &ShardRoute) {
        if route.spec.shedding.is_some() {
            route.state.shed.count(self.class);
        }
    }

    /// A place among the waiting.
    fn enter(&self, route: &Rc<ShardRoute>) -> Result<Hold, Failure> {
        let patience = self.patience(route);
        if patience.is_zero() {
            return Err(Failure::NoCapacity("no backend is available\n"));
        }
        let class = self.claim.as_ref().map_or(self.class, |claim| claim.facts.class);
        if let Some(claim) = &self.claim
            && let Some(wait) = route.hopeless(claim, patience)
        {
            return Err(Failure::TooLate(wait));
        }
        if route.spec.shedding.is_some()
            && let Some(wait) = route.state.shed.hopeless(route.state.waiting.ahead_of(class), patience)
        {
            return Err(Failure::TooLate(wait));
        }
        let ticket = Ticket::enter(&route.state, route.spec.max_waiting, class);
        let ticket = ticket.ok_or(Failure::NoCapacity("too many requests are waiting for a backend\n"))?;
        self.exchange.counters().held.add(1);
        let queued =
            self.claim.as_ref().zip(route.costs.as_ref()).map(|(claim, costs)| Queued::join(costs, claim));
        Ok(Hold { ticket, began: Instant::now(), _queued: queued })
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.exchange.arrived()
    }

    /// A backend was found; if it had to be waited for, that is over.
    pub(crate) fn end_hold(&mut self) -> Option<Instant> {
        let hold = self.hold.take()?;
        let now = Instant::now();
        self.waited(now.saturating_duration_since(hold.began));
        // Its ticket goes here: there may be room for the next one, too.
        Some(now)
    }

    fn waited(&self, time: Duration) {
        self.exchange.counters().hold.record(time);
        if let Some(watch) = self.exchange.watch() {
            watch.waited(time);
        }
    }

    /// Whether it may be tried once more, after the attempt that has just failed.
    pub(crate) fn may_retry(&self, route: &ShardRoute, now: Instant) -> bool {
        self.avoid.len() + 1 < ATTEMPTS_MAX && route.affords_retry(now)
    }

    /// Gives an attempt up for another.
    pub(crate) fn retry(&mut self, lease: Lease) {
        lease.retried();
        if let Some(watch) = self.exchange.watch() {
            watch.retried();
        }
        self.avoid.push(lease.backend().state.id);
    }

    /// The route as the newest table has it.
    pub(crate) fn refresh(&self) -> Result<Rc<ShardRoute>, Failure> {
        self.exchange.client().route().ok_or(NO_ROUTE)
    }

    /// Waits until something may have changed: then None; or until a backend is reserved for this request.
    pub(crate) async fn wait(&mut self, route: &Rc<ShardRoute>) -> Result<Option<Choice>, Failure> {
        let hold = match self.hold.take() {
            // The address may have changed hands since; then this is a new wait in another room.
            Some(hold) if hold.is_for(route) => hold,
            Some(_) | None => self.enter(route)?,
        };
        let (began, mut grant) = (hold.began, hold.ticket.listen());
        self.hold = Some(hold);
        // What became free before the ticket was in line was handed to nobody.
        let now = Instant::now();
        if let Some(choice) = self.pick(route, now) {
            return Ok(Some(choice));
        }
        let deadline = began + self.patience(route);
        let until = route.first_readmission(now).map_or(deadline, |readmission| readmission.min(deadline));
        match timeout_at(until.into(), &mut grant).await {
            Ok(Ok(Grant::Slot(slot))) => Ok(self.redeem(slot)),
            Ok(Ok(Grant::Leave)) => Err(Failure::NoCapacity("more important requests took its place\n")),
            Ok(Ok(Grant::Look) | Err(_)) => Ok(None),
            Err(_) if until < deadline => Ok(None),
            Err(_) => {
                self.waited(began.elapsed());
                Err(Failure::NoCapacity("no backend became available in time\n"))
            }
        }
    }

    /// Turns a reserved slot into a choice, unless the backend has left the table meanwhile.
    fn redeem(&self, slot: crate::state::Slot) -> Option<Choice> {
        let route = self.exchange.client().route()?;
        let backend = Rc::clone(route.backend_of(&slot.backend)?);
        let usable = backend.state.is_usable(route.process().elapsed(Instant::now()));
        let work = self.wish.map_or(0, |wish| Choice::units(wish.ask.work));
        usable.then_some(Choice { backend, slot: Some(slot), work, charge: None })
    }
}

fn undelivered(fault: ClientFault) -> Failure {
    match fault {
        ClientFault::Broken => Failure::Status(StatusCode::BAD_REQUEST, "the request body did not arrive\n"),
        ClientFault::TooLong => {
            Failure::Status(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too long\n")
        }
    }
}

const TOO_LATE: &str = "capacity would come too late\n";
const NO_ROUTE: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE, "no route\n");
pub(crate) const BROKEN: Failure = Failure::Status(StatusCode::BAD_GATEWAY, "the backend did not answer\n");
const TIMED_OUT: Failure =
    Failure::Status(StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time\n");
/// Backends tried for one request.
const ATTEMPTS_MAX: usize = 4;
