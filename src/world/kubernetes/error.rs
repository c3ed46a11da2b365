//! What can go wrong with an object in the cluster.

/// Why an object could not be read or changed. Each says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The object does not exist.
    #[error("{object} does not exist")]
    NotFound {
        /// Kind, namespace and name.
        object: String,
    },
    /// Another field manager owns what we wanted to set.
    #[error("{object}: {fields} belongs to the field manager {owner:?}; remove the field there or leave it to Howdah")]
    Conflict {
        /// Kind, namespace and name.
        object: String,
        /// The other field manager.
        owner: String,
        /// The fields, as the API server names them (`.data.howdah.conf`).
        fields: String,
    },
    /// RBAC does not allow it.
    #[error("{object}: the API server forbids it ({message}); grant the verb to Howdah's service account")]
    Forbidden {
        /// Kind, namespace and name.
        object: String,
        /// The API server's message.
        message: String,
    },
    /// Everything else: the API server is unreachable, or refused the request.
    #[error("{object}: {message}")]
    Other {
        /// Kind, namespace and name.
        object: String,
        /// The API server's message, or the transport's.
        message: String,
    },
}

impl KubeError {
    /// Reads the error of a request about `object` (`ConfigMap shop/orders`).
    pub fn of(object: impl Into<String>, error: kube::Error) -> Self {
        let object = object.into();
        let status = match error {
            kube::Error::Api(status) => status,
            other => return Self::Other { object, message: chain(&other) },
        };
        if status.is_not_found() {
            return Self::NotFound { object };
        }
        if status.is_forbidden() {
            return Self::Forbidden { object, message: status.message };
        }
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        let conflicts: Vec<_> = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict").collect();
        match conflicts.first() {
            Some(first) if status.is_conflict() => Self::Conflict {
                owner: manager(&first.message),
                fields: conflicts.iter().map(|cause| cause.field.as_str()).collect::<Vec<_>>().join(", "),
                object,
            },
            _ => Self::Other { object, message: status.message },
        }
    }
}

/// The manager's name in `conflict with "kubectl-edit" using v1 at …`.
fn manager(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

/// The error with its causes: kube's transport errors say only "ServiceError" at the top.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(status: serde_json::Value) -> KubeError {
        KubeError::of("ConfigMap shop/orders", kube::Error::Api(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn a_conflict_names_the_other_manager_and_the_field() {
        let conflict = error(json!({
            "status": "Failure", "reason": "Conflict", "code": 409,
            "message": "Apply failed with 1 conflict: conflict with \"argocd-controller\" using v1: .data.howdah.conf",
            "details": {"causes": [{
                "reason": "FieldManagerConflict", "field": ".data.howdah.conf",
                "message": "conflict with \"argocd-controller\" using v1"
            }]}
        }));
        assert!(matches!(&conflict, KubeError::Conflict { owner, fields, .. }
            if owner == "argocd-controller" && fields == ".data.howdah.conf"));
        let sentence = conflict.to_string();
        assert!(sentence.contains("shop/orders") && sentence.contains("argocd-controller"), "{sentence}");
    }

    #[test]
    fn a_conflict_of_versions_is_no_field_conflict() {
        let stale = error(json!({"status": "Failure", "reason": "Conflict", "code": 409, "message": "modified"}));
        assert!(matches!(stale, KubeError::Other { .. }));
        let absent = error(json!({"status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"}));
        assert!(matches!(absent, KubeError::NotFound { .. }));
    }
}
