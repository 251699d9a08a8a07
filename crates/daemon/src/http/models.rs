//! The model repository over HTTP: look, promote, roll back, and move versions between machines.
//!
//! An export is one binary body, and so is an import; a few at a time are held in memory.

use std::sync::Arc;

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use history::models::{By, EXTENSION, ModelId, ModelRecord, ModelRefusal};
use history::{EVERY_WORKLOAD, HistoryError, limit};

use super::Api;
use super::failure::Failure;
use super::guard::require_type;
use super::query::Params;
use super::write::json;
use crate::control_loop::Command;
use crate::convert;
use crate::models::Repository;

type Pairs = Query<Vec<(String, String)>>;

/// Model versions, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/models",
    params(
        ("workload" = Option<String>, Query, description = "Only of this workload"),
        ("model" = Option<String>, Query, description = "Only of this kind of model"),
        ("state" = Option<String>, Query, description = "Only `challenger`, `champion` or `retired`"),
    ),
    responses((status = 200, body = api::Models), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Query(pairs): Pairs,
) -> Result<Json<api::Models>, Failure> {
    let params = Params::new(pairs, &["workload", "model", "state"])?;
    let state = params.text("state").map(state_of).transpose()?;
    let (workload, model) = (params.text("workload").map(str::to_owned), params.text("model"));
    let asked = workload.clone();
    let found = blocking(&api, move |models| models.list(asked.as_deref())).await?;
    if let Some(name) = workload.filter(|_| found.is_empty()) {
        known(&api, &name)?;
    }
    let shown = found.iter().map(convert::model);
    let wanted = |shown: &api::Model| {
        state.is_none_or(|state| shown.state == state) && model.is_none_or(|model| shown.model == model)
    };
    Ok(Json(api::Models { models: shown.filter(wanted).collect(), training: api.view().training.clone() }))
}

/// Everything about one version.
#[utoipa::path(
    get,
    path = "/api/v1/models/{id}",
    params(("id" = u64, Path, description = "Number of the version")),
    responses((status = 200, body = api::ModelDetail), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<api::ModelDetail>, Failure> {
    let id = number(&id)?;
    let record = blocking(&api, move |models| models.version(id)).await?;
    Ok(Json(convert::model_detail(&record)))
}

/// Make a version the champion of its workload and kind.
#[utoipa::path(
    post,
    path = "/api/v1/models/{id}/promote",
    params(("id" = u64, Path, description = "Number of the version")),
    request_body = api::PromoteRequest,
    responses(
        (status = 200, body = api::ModelDetail),
        (status = 400, description = "No author or reason", body = api::ErrorBody),
        (status = 404, description = "No such version", body = api::ErrorBody),
        (status = 409, description = "No gain over the champion was measured", body = api::ErrorBody),
    )
)]
pub(crate) async fn promote(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::ModelDetail>, Failure> {
    let id = number(&id)?;
    let request: api::PromoteRequest = json(&headers, body)?;
    if let Some(least) = request.least_gain.filter(|least| !(0.0..1.0).contains(least)) {
        return Err(Failure::bad(
            format!("`least_gain` is {least}"),
            "give a share of the champion's loss, at least 0 and below 1",
        ));
    }
    let by = By::new(request.author, request.reason);
    let record =
        blocking(&api, move |models| models.promote(&by, id, request.force, request.least_gain)).await?;
    in_charge(&api, &record).await;
    Ok(Json(convert::model_detail(&record)))
}

/// Put the version back in charge that the champion replaced, or else the champion's parent.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/models/{model}/rollback",
    params(
        ("id" = String, Path, description = "Workload name, or `*`"),
        ("model" = String, Path, description = "Kind of model"),
    ),
    request_body = api::RollbackRequest,
    responses(
        (status = 200, description = "The version in charge now", body = api::ModelDetail),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "No champion, or nothing before it", body = api::ErrorBody),
    )
)]
pub(crate) async fn rollback(
    State(api): State<Arc<Api>>,
    Path((workload, model)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::ModelDetail>, Failure> {
    let request: api::RollbackRequest = json(&headers, body)?;
    let by = By::new(request.author, request.reason);
    let named = workload.clone();
    match blocking(&api, move |models| models.roll_back(&by, &workload, &model)).await {
        Ok(record) => {
            in_charge(&api, &record).await;
            Ok(Json(convert::model_detail(&record)))
        }
        Err(failure) => Err(known(&api, &named).err().unwrap_or(failure)),
    }
}

/// A version as one file.
#[utoipa::path(
    get,
    path = "/api/v1/models/{id}/export",
    params(("id" = u64, Path, description = "Number of the version")),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = api::ErrorBody),
    )
)]
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let id = number(&id)?;
    let _place = api.transfers.acquire().await.map_err(|_| Failure::busy())?;
    let (record, content) = blocking(&api, move |models| models.export(id)).await?;
    let name = convert::model_file_name(&record, EXTENSION);
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, content))
}

/// Take in an exported version as a challenger.
#[utoipa::path(
    post,
    path = "/api/v1/models/import",
    params(
        ("author" = String, Query, description = "Who decided; kept in the journal"),
        ("reason" = String, Query, description = "Why; kept in the journal"),
        ("workload" = Option<String>, Query, description = "For this workload; default: that of the file"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = api::ModelDetail),
        (status = 400, description = "Damaged, or no exported model", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "The same model is here already", body = api::ErrorBody),
    )
)]
pub(crate) async fn import(
    State(api): State<Arc<Api>>,
    Query(pairs): Pairs,
    request: Request,
) -> Result<Json<api::ModelDetail>, Failure> {
    let params = Params::new(pairs, &["author", "reason", "workload"])?;
    // A foreign web page cannot send this type without a permission that is never given.
    require_type(request.headers(), "application/octet-stream")?;
    let text = |key: &str| params.text(key).unwrap_or_default().to_owned();
    let by = By::new(text("author"), text("reason"));
    let workload = params.text("workload").map(str::to_owned);
    let _place = api.transfers.acquire().await.map_err(|_| Failure::busy())?;
    let content = to_bytes(request.into_body(), FILE_BYTES_MAX).await.map_err(|_| {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the exported model was not taken",
            format!("send at most {FILE_BYTES_MAX} bytes"),
        )
    })?;
    let view = api.view();
    let known = move |name: &str| name == EVERY_WORKLOAD || view.workload(name).is_some();
    let record = blocking(&api, move |models| {
        let target = match workload {
            Some(named) => named,
            None => history::models::exported_workload(&content).map_err(ModelRefusal::File)?,
        };
        if !known(&target) {
            return Ok(Err(target));
        }
        models.import(&by, &content, Some(&target)).map(Ok)
    })
    .await?
    .map_err(|name| Failure::unknown_workload(&name))?;
    Ok(Json(convert::model_detail(&record)))
}

/// Lets forecasts follow the change. When the control loop has ended, so has everything that it would change.
async fn in_charge(api: &Api, record: &ModelRecord) {
    let (workload, model) = (record.workload().to_owned(), record.model().to_owned());
    let _ = api.commands.send(Command::ChampionChanged { workload, model }).await;
}

fn number(id: &str) -> Result<ModelId, Failure> {
    id.parse().map(ModelId::new).map_err(|_| {
        let shown: String = id.chars().take(40).collect();
        Failure::bad(
            format!("{shown:?} is not the number of a model version"),
            "GET /api/v1/models lists those there are",
        )
    })
}

fn state_of(text: &str) -> Result<api::ModelState, Failure> {
    match text {
        "challenger" => Ok(api::ModelState::Challenger),
        "champion" => Ok(api::ModelState::Champion),
        "retired" => Ok(api::ModelState::Retired),
        _ => Err(Failure::bad(
            format!("parameter state is {:?}", text.chars().take(40).collect::<String>()),
            "write challenger, champion or retired",
        )),
    }
}

fn known(api: &Api, workload: &str) -> Result<(), Failure> {
    if workload == EVERY_WORKLOAD || api.view().workload(workload).is_some() {
        return Ok(());
    }
    Err(Failure::unknown_workload(workload))
}

async fn blocking<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Repository) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Failure> {
    let models = api.models.clone();
    let done = tokio::task::spawn_blocking(move || work(&models)).await.map_err(|_| Failure::busy())?;
    done.map_err(Failure::from)
}

/// A largest model with its record.
const FILE_BYTES_MAX: usize = limit::MODEL_BYTES_MAX + (4 << 20);
