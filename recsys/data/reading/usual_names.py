"""Usual names of columns, by role: letters and digits only, in lower case."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KNOWN"]

# In order of preference. `clean` has none: a column is known to judge noise only if the user says
# so. A name that is added goes to the end, so that files are read as before.
_TEXT: Mapping[str, str] = {
    "user": """
        userid user uid customerid customer visitorid reviewerid memberid clientid
        userindex visitor shopper shopperid buyer buyerid member client account accountid
        profileid subscriber subscriberid player playerid reader readerid listener
        listenerid viewer viewerid reviewer patron patronid student studentid learnerid
        person personid guest guestid steamid username userno customerno customernumber
    """,
    "item": """
        itemid item iid movieid productid stockcode parentasin asin bookid isbn artistid
        trackid businessid itemindex product productno productcode movie film filmid book
        artist track song songid album albumid game gameid appid article articleid
        articleno sku skuid ean upc gtin listing listingid content contentid video videoid
        show showid news newsid documentid docid course courseid recipe recipeid
        restaurant restaurantid venue venueid hotel hotelid poi poiid joke jokeid anime
        animeid beer beerid offerid adid itemcode itemno
    """,
    "time": """
        timestamp time datetime unixreviewtime invoicedate date ts when createdat created
        eventtime eventtimestamp orderdate ordertime purchasedate purchasedat purchasetime
        watchedat viewedat playedat listenedat ratedat reviewtime reviewdate tstamp
        unixtime
    """,
    "weight": """
        rating weight count overall score stars plays playcount listencount ratingvalue
        reviewoverall
    """,
    "behaviour": """
        behaviour behavior behaviourtype behaviortype event eventtype action
    """,
}
KNOWN: Mapping[str, tuple[str, ...]] = {role: tuple(text.split()) for role, text in _TEXT.items()}
