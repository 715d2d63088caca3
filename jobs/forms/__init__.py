"""What a person may enter, checked. Importing it gives every field plain words for a number that is too large or too small."""

from django.forms import Field

Field.default_error_messages = {
    **Field.default_error_messages,
    "max_value": "Enter %(limit_value)s or less.",
    "min_value": "Enter %(limit_value)s or more.",
}
