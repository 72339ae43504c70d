"""One template and ten people with what each has to get, written by hand."""

from dataclasses import dataclass
from typing import Any

PAID_AT = "2026-11-23T20:30:00Z"

TEMPLATE: dict[str, Any] = {
    "default_locale": "en",
    "params": [
        {"name": "order", "type": "integer", "example": 17},
        {"name": "items", "type": "integer", "example": 3},
        {"name": "total", "type": "money", "example": {"amount": "1234.50", "currency": "EUR"}},
        {"name": "at", "type": "datetime", "example": PAID_AT},
    ],
    "variants": [
        {
            "locale": "en",
            "title": "Order {{ order }} was paid",
            "body": "{{ items }} {{ items|plural(one='item', other='items') }}, {{ total|money }},"
            " {{ at|datetime('d MMM HH:mm') }}",
        },
        {
            "locale": "ru",
            "title": "Заказ {{ order }} оплачен",
            "body": "{{ items }} {{ items|plural(one='товар', few='товара', many='товаров') }}, {{ total|money }},"
            " {{ at|datetime('d MMM HH:mm') }}",
        },
        {
            "locale": "ru",
            "sender": "TG",
            "title": "Заказ {{ order }}",
            "body": "*Оплачен* {{ at|datetime('d MMM HH:mm') }}:"
            " {{ items }} {{ items|plural(one='товар', few='товара', many='товаров') }}",
            "format": "markdown",
        },
        {
            "locale": "ar",
            "title": "تم دفع الطلب {{ order }}",
            "body": "{{ items }} {{ items|plural(zero='عنصر', one='عنصر', two='عنصران', few='عناصر', many='عنصرًا',"
            " other='عنصر') }}، {{ at|datetime('d MMM HH:mm') }}",
        },
    ],
}


@dataclass(frozen=True)
class Person:
    """Somebody, how many items they bought, and their text."""

    locale: str
    zone: str
    sender: str
    items: int
    title: str
    body: str

    @property
    def params(self) -> dict[str, Any]:
        return {
            "order": 17,
            "items": self.items,
            "total": {"amount": "1234.50", "currency": "EUR"},
            "at": PAID_AT,
        }


_PEOPLE = (
    ("en", "UTC", "CONSOLE", 1, "Order 17 was paid", "1 item, €1,234.50, 23 Nov 20:30"),
    ("en-GB", "Asia/Kolkata", "WEBHOOK", 2, "Order 17 was paid", "2 items, €1,234.50, 24 Nov 02:00"),
    ("en-US", "America/St_Johns", "TG", 5, "Order 17 was paid", "5 items, €1,234.50, 23 Nov 17:00"),
    ("ru", "Europe/Moscow", "CONSOLE", 1, "Заказ 17 оплачен", "1 товар, 1\xa0234,50\xa0€, 23 нояб. 23:30"),
    (
        "ru-RU",
        "Europe/Moscow",
        "WEBHOOK",
        2,
        "Заказ 17 оплачен",
        "2 товара, 1\xa0234,50\xa0€, 23 нояб. 23:30",
    ),
    ("ru", "Asia/Kolkata", "CONSOLE", 5, "Заказ 17 оплачен", "5 товаров, 1\xa0234,50\xa0€, 24 нояб. 02:00"),
    ("ru", "Europe/Moscow", "TG", 11, "Заказ 17", "*Оплачен* 23 нояб. 23:30: 11 товаров"),
    ("ru-KZ", "Asia/Kolkata", "TG", 21, "Заказ 17", "*Оплачен* 24 нояб. 02:00: 21 товар"),
    ("ar", "UTC", "CONSOLE", 3, "تم دفع الطلب 17", "3 عناصر، 23 نوفمبر 20:30"),
    ("ar-EG", "America/St_Johns", "TG", 11, "تم دفع الطلب 17", "11 عنصرًا، 23 نوفمبر 17:00"),
)
PEOPLE = tuple(Person(*fields) for fields in _PEOPLE)
