//! Types as JSON Schema, and an example of a value: what people and tools need to make a call in JSON.

use std::collections::HashMap;

use farcall_gob::{Kind, NodeId, Schema};
use serde_json::{Map, Value, json};

/// Examples go no deeper: a type may contain itself.
const EXAMPLE_DEPTH_MAX: usize = 4;

/// The JSON Schema of a type. Structs stand under `$defs`, since they may refer to themselves.
pub(crate) fn json_schema(schema: &Schema) -> Value {
    let mut defs = Defs {
        schema,
        names: HashMap::new(),
        written: Map::new(),
    };
    let mut root = defs.of(schema.root());
    if let (Value::Object(root), false) = (&mut root, defs.written.is_empty()) {
        root.insert("$defs".into(), Value::Object(defs.written));
    }
    root
}

struct Defs<'a> {
    schema: &'a Schema,
    names: HashMap<NodeId, String>,
    written: Map<String, Value>,
}

impl Defs<'_> {
    fn of(&mut self, id: NodeId) -> Value {
        let node = self.schema.node(id);
        match &node.kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int => json!({ "type": "integer" }),
            Kind::Uint => json!({ "type": "integer", "minimum": 0 }),
            Kind::Float => json!({ "type": "number" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Array { elem, len } => {
                json!({ "type": "array", "items": self.of(*elem), "minItems": len, "maxItems": len })
            }
            Kind::Slice { elem } => json!({ "type": "array", "items": self.of(*elem) }),
            Kind::Map { elem, .. } => {
                json!({ "type": "object", "additionalProperties": self.of(*elem) })
            }
            Kind::Struct { fields } if fields.is_empty() => json!({ "type": "object" }),
            Kind::Struct { fields } => {
                if let Some(name) = self.names.get(&id) {
                    return json!({ "$ref": format!("#/$defs/{name}") });
                }
                let mut name = match &*node.name {
                    "" => "struct".to_owned(),
                    name => name.to_owned(),
                };
                while self.names.values().any(|taken| *taken == name) {
                    name.push('_');
                }
                self.names.insert(id, name.clone());
                let mut properties = Map::new();
                for field in fields {
                    properties.insert(field.name.to_string(), self.of(field.ty));
                }
                let written = json!({ "type": "object", "properties": properties });
                self.written.insert(name.clone(), written);
                json!({ "$ref": format!("#/$defs/{name}") })
            }
            // Interfaces, complex numbers and types that turn themselves into bytes have forms of their own.
            _ => json!({}),
        }
    }
}

/// A value of the type that shows its form: `{"A": 0, "B": 0}`.
pub(crate) fn example(schema: &Schema) -> Value {
    example_of(schema, schema.root(), 0)
}

fn example_of(schema: &Schema, id: NodeId, depth: usize) -> Value {
    if depth > EXAMPLE_DEPTH_MAX {
        return Value::Null;
    }
    let of = |id: &NodeId| example_of(schema, *id, depth + 1);
    match &schema.node(id).kind {
        Kind::Bool => json!(false),
        Kind::Int | Kind::Uint => json!(0),
        Kind::Float => json!(0.0),
        Kind::String => json!("text"),
        Kind::Bytes => json!("Ynl0ZXM="),
        Kind::Array { elem, len } => std::iter::repeat_n(of(elem), (*len).min(16)).collect(),
        Kind::Slice { elem } => json!([of(elem)]),
        Kind::Map { elem, .. } => json!({ "key": of(elem) }),
        Kind::Struct { fields } => {
            let members = fields
                .iter()
                .map(|field| (field.name.to_string(), of(&field.ty)));
            Value::Object(members.collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_contains_itself_has_a_schema() {
        let schema = Schema::of::<HashMap<String, Vec<i64>>>();
        let expected = json!({
            "type": "object",
            "additionalProperties": { "type": "array", "items": { "type": "integer" } },
        });
        assert_eq!(json_schema(&schema), expected);
        assert_eq!(example(&schema), json!({ "key": [0] }));
    }
}
