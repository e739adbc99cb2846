"""The two public client libraries, unmodified, over real HTTP: they must not notice that this is not OANDA."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import oandapyV20
import oandapyV20.endpoints.accounts as accounts
import oandapyV20.endpoints.instruments as instruments
import oandapyV20.endpoints.orders as orders
import oandapyV20.endpoints.positions as positions
import oandapyV20.endpoints.pricing as pricing
import oandapyV20.endpoints.trades as trades
import oandapyV20.endpoints.transactions as transactions
import pytest
import v20
from oandapyV20.oandapyV20 import TRADING_ENVIRONMENTS
from practice_fixtures import PracticeProcess, practice_broker

ARGUMENTS = ("--clock", "real", "--ticks-per-second", "20", "--seed", "3")


@pytest.fixture
def server(tmp_path: Any) -> Iterator[PracticeProcess]:
    with practice_broker(tmp_path, *ARGUMENTS) as running:
        yield running


def test_oandapyv20_does_the_whole_job(server: PracticeProcess) -> None:
    TRADING_ENVIRONMENTS[server.rest_url] = {"api": server.rest_url, "stream": server.stream_url}
    api = oandapyV20.API(server.token, environment=server.rest_url, request_params={"timeout": 10})
    account = server.account_id

    def ask(endpoint: Any) -> Any:
        return api.request(endpoint)

    assert ask(accounts.AccountList())["accounts"][0]["id"] == account
    assert ask(accounts.AccountDetails(account))["account"]["balance"] == "100000.0000"
    assert ask(accounts.AccountSummary(account))["account"]["currency"] == "USD"
    listed = ask(accounts.AccountInstruments(account, params={"instruments": "EUR_USD"}))["instruments"]
    assert [item["name"] for item in listed] == ["EUR_USD"]
    (price,) = ask(pricing.PricingInfo(account, params={"instruments": "EUR_USD"}))["prices"]
    assert price["type"] == "PRICE" and price["asks"][0]["price"] > price["bids"][0]["price"]

    body = {
        "order": {
            "type": "MARKET",
            "instrument": "EUR_USD",
            "units": "1000",
            "timeInForce": "FOK",
            "positionFill": "DEFAULT",
            "clientExtensions": {"id": "mine", "tag": "test"},
            "stopLossOnFill": {"price": "0.90000"},
        }
    }
    made = ask(orders.OrderCreate(account, data=body))
    trade = made["orderFillTransaction"]["tradeOpened"]["tradeID"]
    assert made["relatedTransactionIDs"] == ["3", "4", "5"] and made["lastTransactionID"] == "5"
    assert ask(orders.OrderDetails(account, "@mine"))["order"]["state"] == "FILLED"
    (stop,) = ask(orders.OrdersPending(account))["orders"]
    assert (stop["type"], stop["state"], stop["tradeID"]) == ("STOP_LOSS", "PENDING", trade)
    moved = ask(trades.TradeCRCDO(account, trade, data={"stopLoss": {"price": "0.95000", "timeInForce": "GTC"}}))
    assert moved["stopLossOrderCancelTransaction"]["replacedByOrderID"] == moved["stopLossOrderTransaction"]["id"]
    ask(trades.TradeClientExtensions(account, trade, data={"clientExtensions": {"id": "t1"}}))
    assert ask(trades.TradeDetails(account, "@t1"))["trade"]["id"] == trade
    reduced = ask(trades.TradeClose(account, trade, data={"units": 400}))
    assert reduced["orderFillTransaction"]["tradeReduced"]["units"] == "-400"
    (position,) = ask(positions.OpenPositions(account))["positions"]
    assert position["long"]["units"] == "600"
    closed = ask(positions.PositionClose(account, "EUR_USD", data={"longUnits": "ALL"}))
    assert closed["longOrderFillTransaction"]["reason"] == "MARKET_ORDER_POSITION_CLOSEOUT"

    limit = {"type": "LIMIT", "instrument": "USD_JPY", "units": "100", "price": "50.000", "timeInForce": "GTC"}
    number = ask(orders.OrderCreate(account, data={"order": limit}))["orderCreateTransaction"]["id"]
    replaced = ask(orders.OrderReplace(account, number, data={"order": limit | {"price": "51.000"}}))
    newer = replaced["orderCreateTransaction"]["id"]
    ask(orders.OrderClientExtensions(account, newer, data={"clientExtensions": {"comment": "c"}}))
    assert ask(orders.OrderCancel(account, newer))["orderCancelTransaction"]["reason"] == "CLIENT_REQUEST"

    since = ask(transactions.TransactionsSinceID(account, params={"id": 2}))["transactions"]
    assert [int(item["id"]) for item in since] == list(range(3, 3 + len(since)))
    some = ask(transactions.TransactionIDRange(account, params={"from": 1, "to": 3}))["transactions"]
    assert [item["type"] for item in some] == ["CREATE", "TRANSFER_FUNDS", "MARKET_ORDER"]
    assert ask(transactions.TransactionList(account, params={"pageSize": 5}))["pages"][0].startswith(server.rest_url)
    assert ask(transactions.TransactionDetails(account, "3"))["transaction"]["clientExtensions"]["id"] == "mine"
    changed = ask(accounts.AccountChanges(account, params={"sinceTransactionID": 2}))
    assert {item["id"] for item in changed["changes"]["tradesClosed"]} == {trade}
    ask(accounts.AccountConfiguration(account, data={"alias": "new"}))
    assert ask(accounts.AccountSummary(account))["account"]["alias"] == "new"
    made_of = ask(instruments.InstrumentsCandles("EUR_USD", params={"granularity": "S5", "price": "MBA"}))
    assert {"bid", "ask", "mid", "complete", "volume", "time"} <= set(made_of["candles"][0])

    with pytest.raises(oandapyV20.V20Error) as refused:
        ask(orders.OrderCreate(account, data={"order": limit | {"price": "50.0000001"}}))
    assert refused.value.code == 400 and "PRICE_PRECISION_EXCEEDED" in str(refused.value.msg)

    lines = list(islice(ask(pricing.PricingStream(account, params={"instruments": "EUR_USD,USD_JPY"})), 10))
    assert [line["instrument"] for line in lines[:2]] == ["EUR_USD", "USD_JPY"]
    assert all(line["type"] in ("PRICE", "HEARTBEAT") for line in lines)
    stream = ask(transactions.TransactionsStream(account))
    assert next(iter(stream))["type"] == "HEARTBEAT"
    ask(orders.OrderCreate(account, data=body | {"order": body["order"] | {"clientExtensions": {"id": "again"}}}))
    assert [line["type"] for line in islice(stream, 3)] == ["MARKET_ORDER", "ORDER_FILL", "STOP_LOSS_ORDER"]


def test_oandas_own_client_does_the_whole_job(server: PracticeProcess) -> None:
    host, port = server.rest_url.removeprefix("http://").split(":")
    api = v20.Context(host, int(port), ssl=False, token=server.token, poll_timeout=10)
    account = server.account_id
    assert api.account.list().get("accounts", 200)[0].id == account
    assert api.account.get(account).get("account", 200).balance == 100_000.0
    assert api.account.summary(account).get("account", 200).marginCloseoutPercent == 0.0
    assert {item.name for item in api.account.instruments(account).get("instruments", 200)} >= {"EUR_USD", "USD_JPY"}
    price = api.pricing.get(account, instruments="EUR_USD").get("prices", 200)[0]
    assert price.asks[0].price > price.bids[0].price and price.tradeable
    made = api.order.market(account, instrument="EUR_USD", units=1000, stopLossOnFill={"price": "0.90000"})
    fill = made.get("orderFillTransaction", 201)
    assert (fill.type, fill.units, fill.tradeOpened.units) == ("ORDER_FILL", 1000.0, 1000.0)
    refused = api.order.market(account, instrument="EUR_USD", units=0)
    assert refused.get("errorCode", 400) == "UNITS_INVALID"
    assert refused.get("orderRejectTransaction", 400).rejectReason == "UNITS_INVALID"
    placed = api.order.limit(account, instrument="EUR_USD", units=100, price=0.95)
    number = placed.get("orderCreateTransaction", 201).id
    assert api.order.get(account, number).get("order", 200).state == "PENDING"
    api.order.cancel(account, number).get("orderCancelTransaction", 200)
    trade = api.trade.list_open(account).get("trades", 200)[0]
    assert trade.stopLossOrder.price == 0.9
    api.trade.close(account, trade.id, units="500").get("orderFillTransaction", 200)
    assert api.position.list_open(account).get("positions", 200)[0].long.units == 500.0
    closed = api.position.close(account, "EUR_USD", longUnits="ALL")
    assert closed.get("longOrderFillTransaction", 200).units == -500.0
    kinds = [item.type for item in api.transaction.since(account, id="2").get("transactions", 200)]
    assert kinds[:3] == ["MARKET_ORDER", "ORDER_FILL", "STOP_LOSS_ORDER"]
    changes = api.account.changes(account, sinceTransactionID="2").get("changes", 200)
    assert len(changes.tradesClosed) == 1
    candles = api.instrument.candles("EUR_USD", granularity="S5", price="BA").get("candles", 200)
    assert candles[-1].bid.c > 0
    stream = api.pricing.stream(account, snapshot=True, instruments="EUR_USD")
    assert [kind for kind, _ in islice(stream.parts(), 3)] == ["pricing.ClientPrice"] * 3
    api.set_datetime_format_unix()
    assert api.account.summary(account).get("account", 200).createdTime.replace(".", "").isdigit()


def test_both_clients_send_every_order_type(server: PracticeProcess) -> None:
    TRADING_ENVIRONMENTS[server.rest_url] = {"api": server.rest_url, "stream": server.stream_url}
    api = oandapyV20.API(server.token, environment=server.rest_url, request_params={"timeout": 10})
    host, port = server.rest_url.removeprefix("http://").split(":")
    own = v20.Context(host, int(port), ssl=False, token=server.token, poll_timeout=10)
    account = server.account_id
    entry = {"instrument": "EUR_USD", "units": "100", "timeInForce": "GTC"}
    bodies = [
        entry | {"type": "LIMIT", "price": "0.50000"},
        entry | {"type": "STOP", "price": "9.00000", "priceBound": "9.10000"},
        entry | {"type": "MARKET_IF_TOUCHED", "price": "0.50000", "triggerCondition": "MID"},
        entry
        | {"type": "LIMIT", "price": "0.50000", "timeInForce": "GTD", "gtdTime": "2099-01-01T00:00:00.000000000Z"},
    ]
    for body in bodies:
        made = api.request(orders.OrderCreate(account, data={"order": body}))
        assert made["orderCreateTransaction"]["type"] == f"{body['type']}_ORDER"
    assert len(own.order.list_pending(account).get("orders", 200)) == 4
    trade = own.order.market(account, instrument="EUR_USD", units=500).get("orderFillTransaction", 201).id
    placed = [
        own.order.take_profit(account, tradeID=trade, price=9.0),
        own.order.stop_loss(account, tradeID=trade, price=0.5),
        own.order.trailing_stop_loss(account, tradeID=trade, distance=0.05),
        own.order.stop(account, instrument="USD_JPY", units=10, price=900.0),
        own.order.market_if_touched(account, instrument="USD_JPY", units=10, price=10.0),
    ]
    assert [reply.status for reply in placed] == [201] * 5
    assert own.trade.get(account, trade).get("trade", 200).trailingStopLossOrder.distance == 0.05
    dependent = api.request(trades.TradeCRCDO(account, trade, data={"takeProfit": {"price": "8.0"}, "stopLoss": None}))
    assert dependent["takeProfitOrderTransaction"]["price"] == "8.00000"
    assert dependent["stopLossOrderCancelTransaction"]["reason"] == "CLIENT_REQUEST"
    wanted = {"state": "ALL", "count": 3, "instrument": "USD_JPY"}
    page = api.request(orders.OrderList(account, params=wanted))["orders"]
    assert [order["type"] for order in page] == ["MARKET_IF_TOUCHED", "STOP"]
    for order in own.order.list_pending(account).get("orders", 200):
        if order.type not in ("TAKE_PROFIT", "TRAILING_STOP_LOSS"):
            own.order.cancel(account, order.id).get("orderCancelTransaction", 200)
    ids = ",".join(order["id"] for order in page)
    cancelled = api.request(orders.OrderList(account, params={"ids": ids}))["orders"]
    assert [order["state"] for order in cancelled] == ["CANCELLED"] * 2
    own.trade.close(account, trade).get("orderFillTransaction", 200)
    assert own.order.list_pending(account).get("orders", 200) == []  # the trade's own went with it

    # What only the broker's own client asks for.
    assert own.user.get_external_info("@").get("userInfo", 200).FIFO is False
    newest = own.instrument.price("EUR_USD").get("price", 200)
    assert newest.baseAsk > newest.baseBid
    early = "2020-01-01T00:00:00.000000000Z"
    history = own.instrument.prices("EUR_USD", fromTime=early).get("prices", 200)
    assert history[-1].timestamp >= history[0].timestamp and {item.instrument for item in history} == {"EUR_USD"}
    everything = own.pricing.get_price_range("EUR_USD", fromTime=early).get("prices", 200)
    assert {item.instrument for item in everything} > {"EUR_USD"}
    assert own.instrument.order_book("EUR_USD").status == 404 == own.instrument.position_book("EUR_USD").status
    for granularity in ("S5", "M1", "H1", "H4", "D", "W", "M"):
        candles = own.instrument.candles("EUR_USD", granularity=granularity, price="MBA", count=2)
        assert candles.get("candles", 200)[-1].ask.c > candles.get("candles", 200)[-1].bid.c
    beats = own.transaction.stream(account)
    kinds = beats.parts()
    assert next(kinds)[0] == "transaction.TransactionHeartbeat"
    own.order.market(account, instrument="USD_JPY", units=10).get("orderFillTransaction", 201)
    assert [part.type for _, part in islice(kinds, 2)] == ["MARKET_ORDER", "ORDER_FILL"]
