// SPDX-License-Identifier: Apache-2.0
//! What the hands send, against a service in the API server's place.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::Value;

use super::*;
use crate::api::Mode;
use crate::brain::fixtures::*;

/// Method, path with query, body.
type Sent = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Answers each request with `code` and with what was sent, as the API server would with an
/// object, or with a status.
fn hands(code: u16) -> (Hands, Sent) {
    let sent: Sent = Arc::default();
    let log = Arc::clone(&sent);
    let service = tower::service_fn(move |request: Request<Body>| {
        let log = Arc::clone(&log);
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let mut answer = serde_json::to_value(assigned(Mode::Convert)).unwrap();
            if code >= 400 {
                answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                "reason": "X", "message": "quota exceeded", "code": code});
            } else if head.uri.path().contains("/pods") {
                answer = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}});
            }
            log.lock()
                .unwrap()
                .push((head.method.to_string(), head.uri.to_string(), body));
            Ok::<_, std::convert::Infallible>(
                Response::builder()
                    .status(code)
                    .body(Body::from(serde_json::to_vec(&answer).unwrap()))
                    .unwrap(),
            )
        }
    });
    let client = Client::new(service, "tenant");
    let hands = Hands {
        events: Events::new(client.clone(), names::CONTROLLER, "test"),
        client,
        stores: Stores::empty(),
        image: "guestfix:test".into(),
        budgets: Mutex::new(HashSet::from(["tenant".to_owned()])),
        lately: Lately::default(),
    };
    (hands, sent)
}

async fn requests(
    code: u16,
    action: Action,
) -> (kube::Result<After>, Vec<(String, String, Value)>) {
    let (hands, sent) = hands(code);
    let after = hands.act(&assigned(Mode::Convert), &all(), action).await;
    let sent = sent.lock().unwrap().clone();
    (after, sent)
}

#[tokio::test]
async fn a_publication_names_the_version_it_was_decided_on() {
    let status = Box::new(GuestConversionStatus::default());
    let (after, sent) = requests(200, Action::Publish(status)).await;
    assert!(matches!(after.unwrap(), After::Again(_)));
    let (method, uri, body) = sent.first().unwrap();
    assert_eq!(method, "PATCH");
    assert!(uri.contains("/guestconversions/web01/status?"), "{uri}");
    assert!(uri.contains("fieldManager=guestfix-controller"), "{uri}");
    assert_eq!(body.pointer("/metadata/resourceVersion"), Some(&json!("7")));
}

#[tokio::test]
async fn a_holder_is_restricted_and_carries_what_binds_it() {
    let (after, sent) = requests(201, Action::MakeHolder).await;
    assert!(matches!(after.unwrap(), After::Pause));
    let (method, uri, pod) = sent.first().unwrap();
    assert_eq!(
        (method.as_str(), uri.contains("/namespaces/tenant/pods")),
        ("POST", true)
    );
    let at = |path: &str| {
        pod.pointer(path)
            .unwrap_or_else(|| panic!("no {path}: {pod}"))
            .clone()
    };
    assert_eq!(at("/metadata/finalizers/0"), names::HOLD);
    assert_eq!(at("/metadata/labels/guestfix.io~1conversion-uid"), "c-1");
    assert_eq!(at("/spec/automountServiceAccountToken"), false);
    assert_eq!(at("/spec/securityContext/runAsNonRoot"), true);
    assert_eq!(
        at("/spec/containers/0/securityContext/allowPrivilegeEscalation"),
        false
    );
    assert_eq!(
        at("/spec/containers/0/securityContext/capabilities/drop/0"),
        "ALL"
    );
    let amounts = at("/spec/containers/0/resources");
    assert_eq!(amounts.get("requests"), amounts.get("limits"));
    assert_eq!(
        at("/spec/volumes/0/persistentVolumeClaim/claimName"),
        "web01-d0"
    );
    assert_eq!(
        at("/spec/volumes/1/persistentVolumeClaim/claimName"),
        "guestfix-state-u-0"
    );
}

#[tokio::test]
async fn a_holder_is_deleted_before_its_finalizer_goes() {
    let (_, sent) = requests(200, Action::ReleaseHolder).await;
    let methods: Vec<&str> = sent.iter().map(|(method, ..)| method.as_str()).collect();
    assert_eq!(methods, ["DELETE", "PATCH"]);
}

#[tokio::test]
async fn what_is_gone_already_is_released_and_what_is_there_already_is_made() {
    let (after, _) = requests(404, Action::ReleaseHolder).await;
    assert!(after.is_ok());
    let (after, _) = requests(409, Action::MakeHolder).await;
    assert!(after.is_ok());
}

#[tokio::test]
async fn what_the_stores_do_not_show_yet_is_not_done_twice() {
    let (hands, sent) = hands(200);
    let conversion = assigned(Mode::Convert);
    for action in [Action::MakeHolder, Action::ReleaseHolder] {
        hands
            .act(&conversion, &all(), action.clone())
            .await
            .unwrap();
        let before = sent.lock().unwrap().len();
        let again = hands.act(&conversion, &all(), action).await.unwrap();
        assert!(matches!(again, After::PauseFor(_)));
        assert_eq!(sent.lock().unwrap().len(), before);
    }
    // After a release another holder may have to be made.
    let before = sent.lock().unwrap().len();
    let made = hands.act(&conversion, &all(), Action::MakeHolder).await;
    assert!(matches!(made.unwrap(), After::Pause));
    assert!(sent.lock().unwrap().len() > before);
}

#[tokio::test]
async fn drivers_are_copied_by_the_user_whom_kubevirts_images_belong_to() {
    let drivers = Some("registry/virtio-container-disk");
    let pod = holder::pod(&assigned(Mode::Convert), "own", (&[], None), None, drivers);
    let at = |path: &str| pod.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("/spec/initContainers/0/image"), "own");
    assert_eq!(
        at("/spec/initContainers/1/image"),
        "registry/virtio-container-disk"
    );
    let context = at("/spec/initContainers/1/securityContext");
    assert_eq!(context.get("runAsUser"), Some(&json!(107)));
    assert_eq!(context.get("allowPrivilegeEscalation"), Some(&json!(false)));
}

#[tokio::test]
async fn a_refusal_by_a_quota_is_told_and_is_no_success() {
    let (after, sent) = requests(403, Action::MakeHolder).await;
    assert!(after.is_err());
    let event = sent
        .iter()
        .find(|(_, uri, _)| uri.contains("/events"))
        .unwrap();
    assert_eq!(event.2.pointer("/note"), Some(&json!("quota exceeded")));
}

#[tokio::test]
async fn a_finalizer_is_written_for_the_version_that_was_read() {
    for action in [Action::Hold, Action::LetGo] {
        let (_, sent) = requests(200, action).await;
        let (_, _, body) = sent.first().unwrap();
        assert_eq!(body.pointer("/metadata/resourceVersion"), Some(&json!("7")));
    }
}
