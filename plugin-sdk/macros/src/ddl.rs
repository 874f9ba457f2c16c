//! Schemas in Spark's DDL: `order_id STRING, amount DOUBLE NOT NULL`.

use arrow_schema::{DataType, Field, Fields};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, Result};

/// The expression that makes the schema.
pub(crate) fn schema(ddl: &LitStr) -> Result<TokenStream> {
    let columns = tidemill_types::parse_columns(&ddl.value());
    let columns = columns.map_err(|error| Error::new(ddl.span(), error))?;
    let fields = fields(&columns).map_err(|message| Error::new(ddl.span(), message))?;
    Ok(quote!(private::arrow::datatypes::Schema::new(#fields)))
}

fn fields(fields: &Fields) -> std::result::Result<TokenStream, String> {
    let fields =
        fields.iter().map(|each| field(each)).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(quote!(::std::vec![#(#fields),*]))
}

fn field(field: &Field) -> std::result::Result<TokenStream, String> {
    let (name, nullable) = (field.name(), field.is_nullable());
    let data_type = data_type(field.data_type())?;
    Ok(quote!(private::arrow::datatypes::Field::new(#name, #data_type, #nullable)))
}

fn data_type(data_type: &DataType) -> std::result::Result<TokenStream, String> {
    let shared = |inner: TokenStream| quote!(::std::sync::Arc::new(#inner));
    let tokens = match data_type {
        DataType::Utf8 => quote!(Utf8),
        DataType::Float64 => quote!(Float64),
        DataType::Float32 => quote!(Float32),
        DataType::Int64 => quote!(Int64),
        DataType::Int32 => quote!(Int32),
        DataType::Int16 => quote!(Int16),
        DataType::Int8 => quote!(Int8),
        DataType::Boolean => quote!(Boolean),
        DataType::Binary => quote!(Binary),
        DataType::Date32 => quote!(Date32),
        DataType::Timestamp(_, Some(zone)) => {
            let zone = zone.as_ref();
            quote!(Timestamp(private::arrow::datatypes::TimeUnit::Microsecond, Some(#zone.into())))
        }
        DataType::Timestamp(_, None) => {
            quote!(Timestamp(private::arrow::datatypes::TimeUnit::Microsecond, None))
        }
        DataType::Decimal128(precision, scale) => quote!(Decimal128(#precision, #scale)),
        DataType::List(item) => {
            let item = shared(field(item)?);
            quote!(List(#item))
        }
        DataType::Struct(members) => {
            let members = fields(members)?;
            quote!(Struct(#members.into()))
        }
        DataType::Map(entries, sorted) => {
            let entries = shared(field(entries)?);
            quote!(Map(#entries, #sorted))
        }
        other => {
            let name = tidemill_types::sql_name(other);
            return Err(format!("a column of the type {name} cannot be declared here"));
        }
    };
    Ok(quote!(private::arrow::datatypes::DataType::#tokens))
}
