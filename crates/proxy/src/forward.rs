//! What happens to a request: choose a backend, wait for one if there is none, send, try elsewhere if that is safe.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout_at;

use crate::admission::{Claim, Queued, claim};
use crate::attempt::{Answer, Attempt, attempt};
use crate::body::{Quiet, RequestBody, ResponseBody};
use crate::choice::Choice;
use crate::connection::ClientConnection;
use crate::exchange::{Exchange, own_response};
use crate::headers::{Upgrade, prepare_request, prepare_response};
use crate::hold::{Grant, Ticket};
use crate::tunnel::tunnel;
use crate::view::ShardRoute;
use crate::wish::Wish;

/// Serves one request of one client connection.
///
/// All that needs no waiting is done before the future is made. That keeps it small, and it is copied into its connection's
/// state for every request.
pub(crate) fn serve(
    client: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let arrived = Instant::now();
    let mut prepared = client.route().map(|route| Prepared::new(client, route, request, arrived));
    async move {
        // Worked on in place: moving it out would keep a second copy in the future.
        let answer = match &mut prepared {
            Some(Prepared { refused: None, exchange, route, request, wish, .. }) => {
                route.deposit();
                let wish = wish.as_deref();
                let mut answer = Dispatch::new(exchange, wish).run(Rc::clone(route), request).await;
                if let (Some(wish), Ok(answer)) = (wish, &mut answer) {
                    settle(wish, route, answer);
                }
                answer
            }
            Some(Prepared { refused: Some(status), .. }) => {
                Err(Failure::Status(*status, "the request cannot be passed on\n"))
            }
            None => Err(NO_ROUTE),
        };
        Ok(match (prepared, answer) {
            (Some(prepared), answer) => conclude(prepared.exchange, answer, prepared.client_side),
            (None, _) => own_response(StatusCode::SERVICE_UNAVAILABLE, "no route\n"),
        })
    }
}

/// A request as it is to be sent, or why it is not.
struct Prepared {
    route: Rc<ShardRoute>,
    exchange: Exchange,
    request: Option<Request<RequestBody>>,
    refused: Option<StatusCode>,
    /// The client's end of the WebSocket that it asks for.
    client_side: Option<OnUpgrade>,
    /// Where the request should go, if the route's balancing asks.
    wish: Option<Box<Wish>>,
}

impl Prepared {
    fn new(
        client: &Rc<ClientConnection>,
        route: Rc<ShardRoute>,
        mut request: Request<Incoming>,
        arrived: Instant,
    ) -> Self {
        let exchange = Exchange::begin(client, &route, arrived);
        let client_side = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let upgrade = prepare_request(&mut parts, client.names());
        let wish = Wish::read(&route, &parts, client.names());
        let body = RequestBody::new(body, &route, client);
        Self {
            route,
            exchange,
            request: Some(Request::from_parts(parts, body)),
            refused: upgrade.err(),
            client_side: client_side.filter(|_| upgrade == Ok(Upgrade::WebSocket)),
            wish,
        }
    }
}

/// Tells a sticky client which backend answered.
fn settle(wish: &Wish, route: &ShardRoute, answer: &mut Answer) {
    if let Some(sticky) = &route.spec.balancing.sticky {
        wish.settle(sticky, &answer.lease.backend().state, answer.response.headers_mut());
    }
}

/// Turns what came of the search into a response.
fn conclude(
    exchange: Exchange,
    answer: Result<Answer, Failure>,
    client_side: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    match (answer, client_side) {
        (Ok(answer), client_side) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            match client_side {
                Some(client_side) => tunnel(client_side, exchange, answer),
                // A backend must not switch protocols unasked: what follows would be read as something else.
                None => exchange.answer(StatusCode::BAD_GATEWAY, "unexpected switch of protocols\n"),
            }
        }
        (Ok(answer), _) => deliver(exchange, answer),
        (Err(Failure::NoCapacity(text)), _) => exchange.reject(text, None),
        (Err(Failure::TooLate(wait)), _) => exchange.reject(TOO_LATE, Some(wait)),
        (Err(Failure::Status(status, text)), _) => exchange.answer(status, text),
    }
}

/// Passes a backend's response on.
fn deliver(exchange: Exchange, answer: Answer) -> Response<ResponseBody> {
    let Answer { response, headed, lease } = answer;
    let idle = lease.body_idle();
    let (mut parts, body) = response.into_parts();
    prepare_response(parts.status, &mut parts.headers);
    parts.version = http::Version::HTTP_11;
    let mut delivery = exchange.deliver(parts.status, headed, lease);
    if hyper::body::Body::is_end_stream(&body) {
        delivery.ended();
    }
    Response::from_parts(parts, ResponseBody::Backend(Quiet::new(body, idle), delivery))
}

/// Why a request got no answer from a backend.
#[derive(Debug)]
enum Failure {
    /// It found no capacity.
    NoCapacity(&'static str),
    /// Its turn would come in so long, which is too late.
    TooLate(Duration),
    /// Something else.
    Status(StatusCode, &'static str),
}

/// The search for an answer to one request.
struct Dispatch<'a> {
    exchange: &'a Exchange,
    /// Backends that failed it.
    avoid: Vec<u64>,
    hold: Option<Hold>,
    /// What it needs, where the route admits requests by cost.
    claim: Option<Box<Claim>>,
    wish: Option<&'a Wish>,
}

/// A request's place among the waiting.
struct Hold {
    ticket: Ticket,
    began: Instant,
    _queued: Option<Queued>,
}

impl<'a> Dispatch<'a> {
    fn new(exchange: &'a Exchange, wish: Option<&'a Wish>) -> Self {
        Self { exchange, avoid: Vec::new(), hold: None, wish, claim: None }
    }

    async fn run(
        &mut self,
        mut route: Rc<ShardRoute>,
        request: &mut Option<Request<RequestBody>>,
    ) -> Result<Answer, Failure> {
        let shard = self.exchange.client().shard();
        let mut now = self.exchange.arrived();
        let mut is_repeated = false;
        if route.costs.is_some() {
            self.claim = Box::pin(claim(&route, request)).await.map_err(|_| CLIENT_FAULT)?;
        }
        loop {
            let choice = match self.choose(&route, now) {
                Some(choice) => choice,
                // Boxed, as everything rare is: every request's future is copied into its connection once, in full size.
                None => match Box::pin(self.wait(&route)).await? {
                    Some(choice) => choice,
                    None => {
                        (route, now) = (self.refresh()?, Instant::now());
                        continue;
                    }
                },
            };
            if let Some(hold) = self.hold.take() {
                now = Instant::now();
                self.exchange.counters().hold.record(now.saturating_duration_since(hold.began));
                if self.claim.is_some() {
                    drop(hold);
                    // There may be room for the next one, too.
                    route.state.waiting.nudge();
                }
            }
            if let Some(charge) = &choice.charge {
                shard.watch(charge);
            }
            let lease = match attempt(shard, &route, choice, request, now).await {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::NotSent(lease) => lease,
                Attempt::Broken(lease) if request.is_some() && !is_repeated => {
                    is_repeated = true;
                    lease
                }
                Attempt::Broken(_) => return Err(BROKEN),
                Attempt::TimedOut => return Err(TIMED_OUT),
                Attempt::ClientFault => return Err(CLIENT_FAULT),
            };
            now = Instant::now();
            if self.avoid.len() + 1 >= ATTEMPTS_MAX || !route.affords_retry(now) {
                return Err(BROKEN);
            }
            lease.retried();
            self.avoid.push(lease.backend().state.id);
            drop(lease);
            route = self.refresh()?;
        }
    }

    /// A backend for this request, unless it has to wait.
    fn choose(&self, route: &ShardRoute, now: Instant) -> Option<Choice> {
        let Some(claim) = self.claim.as_deref().filter(|_| route.costs.is_some()) else {
            return route.choose(now, &self.avoid, self.wish, || self.exchange.client().shard().random());
        };
        if self.hold.is_none() && route.must_queue(claim) {
            return None;
        }
        let waited = now.saturating_duration_since(self.exchange.arrived());
        route.place(now, (&self.avoid, self.wish), claim, waited)
    }

    /// How long it may wait.
    fn patience(&self, route: &ShardRoute) -> Duration {
        let class = self.claim.as_ref().and_then(|claim| claim.deadline(route));
        class.unwrap_or(route.spec.hold)
    }

    /// A place among the waiting.
    fn enter(&self, route: &Rc<ShardRoute>) -> Result<Hold, Failure> {
        let patience = self.patience(route);
        if patience.is_zero() {
            return Err(Failure::NoCapacity("no backend is available\n"));
        }
        let class = self.claim.as_ref().map_or(0, |claim| claim.facts.class);
        if let Some(claim) = &self.claim
            && let Some(wait) = route.hopeless(claim, patience)
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

    /// The route as the newest table has it.
    fn refresh(&self) -> Result<Rc<ShardRoute>, Failure> {
        self.exchange.client().route().ok_or(NO_ROUTE)
    }

    /// Waits until something may have changed: then None; or until a backend is reserved for this request.
    async fn wait(&mut self, route: &Rc<ShardRoute>) -> Result<Option<Choice>, Failure> {
        let hold = match self.hold.take() {
            // The address may have changed hands since; then this is a new wait in another room.
            Some(hold) if std::sync::Arc::ptr_eq(hold.ticket.route(), &route.state) => hold,
            Some(_) | None => self.enter(route)?,
        };
        let (began, mut grant) = (hold.began, hold.ticket.listen());
        let is_next = self.claim.is_none() || hold.ticket.is_first();
        self.hold = Some(hold);
        // What became free before the ticket was in line was handed to nobody.
        let now = Instant::now();
        if is_next && let Some(choice) = self.choose(route, now) {
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
                self.exchange.counters().hold.record(began.elapsed());
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

const TOO_LATE: &str = "capacity would come too late\n";
const NO_ROUTE: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE, "no route\n");
const BROKEN: Failure = Failure::Status(StatusCode::BAD_GATEWAY, "the backend did not answer\n");
const TIMED_OUT: Failure =
    Failure::Status(StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time\n");
const CLIENT_FAULT: Failure = Failure::Status(StatusCode::BAD_REQUEST, "the request body did not arrive\n");
/// Backends tried for one request.
const ATTEMPTS_MAX: usize = 4;
