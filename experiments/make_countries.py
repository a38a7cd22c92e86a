"""Writes the graph `countries` that the package ships: facts of common knowledge, put down here by hand.

    python -m experiments.make_countries jaxembed/data/builtin/countries     # a second; expect 1,063 facts of 8 relations

A line is a country with its capital, subregion, official languages, currency and those neighbours by land that no line above
tells; - stands for what is left out since it changes or is disputed. What can be told from other facts (neighbours, continents,
regions of capitals, languages of several countries) is held out in part: every tenth such fact for each of validation and test,
both directions of a border together.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CONTINENTS = {
    "Europe": "Northern_Europe Western_Europe Southern_Europe Eastern_Europe",
    "Asia": "Western_Asia Central_Asia Southern_Asia Eastern_Asia South-eastern_Asia",
    "North_America": "Northern_America Central_America Caribbean",
    "South_America": "South_America_(region)",
}

COUNTRIES = """
Portugal | Lisbon | Southern_Europe | Portuguese | euro | Spain
Spain | Madrid | Southern_Europe | Spanish | euro | France Andorra
Andorra | Andorra_la_Vella | Southern_Europe | Catalan | euro | France
France | Paris | Western_Europe | French | euro | Italy Switzerland Germany Luxembourg Belgium
Italy | Rome | Southern_Europe | Italian | euro | Switzerland Austria Slovenia
Switzerland | Bern | Western_Europe | German French Italian | Swiss_franc | Germany Austria Liechtenstein
Liechtenstein | Vaduz | Western_Europe | German | Swiss_franc | Austria
Germany | Berlin | Western_Europe | German | euro | Austria Czechia Poland Denmark Netherlands Belgium Luxembourg
Luxembourg | Luxembourg_City | Western_Europe | French German Luxembourgish | euro | Belgium
Belgium | Brussels | Western_Europe | Dutch French German | euro | Netherlands
Netherlands | Amsterdam | Western_Europe | Dutch | euro |
Austria | Vienna | Western_Europe | German | euro | Czechia Slovakia Hungary Slovenia
Denmark | Copenhagen | Northern_Europe | Danish | Danish_krone |
Sweden | Stockholm | Northern_Europe | Swedish | Swedish_krona | Norway Finland
Norway | Oslo | Northern_Europe | Norwegian | Norwegian_krone | Finland Russia
Finland | Helsinki | Northern_Europe | Finnish Swedish | euro | Russia
Iceland | Reykjavik | Northern_Europe | Icelandic | Icelandic_krona |
Ireland | Dublin | Northern_Europe | English Irish | euro | United_Kingdom
United_Kingdom | London | Northern_Europe | English | pound_sterling |
Estonia | Tallinn | Northern_Europe | Estonian | euro | Latvia Russia
Latvia | Riga | Northern_Europe | Latvian | euro | Lithuania Russia Belarus
Lithuania | Vilnius | Northern_Europe | Lithuanian | euro | Belarus Poland Russia
Poland | Warsaw | Eastern_Europe | Polish | zloty | Czechia Slovakia Ukraine Belarus Russia
Czechia | Prague | Eastern_Europe | Czech | Czech_koruna | Slovakia
Slovakia | Bratislava | Eastern_Europe | Slovak | euro | Ukraine Hungary
Hungary | Budapest | Eastern_Europe | Hungarian | forint | Ukraine Romania Serbia Croatia Slovenia
Romania | Bucharest | Eastern_Europe | Romanian | Romanian_leu | Ukraine Moldova Bulgaria Serbia
Moldova | Chisinau | Eastern_Europe | Romanian | Moldovan_leu | Ukraine
Bulgaria | Sofia | Eastern_Europe | Bulgarian | - | Serbia North_Macedonia Greece Turkey
Ukraine | Kyiv | Eastern_Europe | Ukrainian | hryvnia | Belarus Russia
Belarus | Minsk | Eastern_Europe | Belarusian Russian | Belarusian_ruble | Russia
Russia | Moscow | Eastern_Europe | Russian | Russian_ruble | Georgia Azerbaijan Kazakhstan Mongolia China North_Korea
Slovenia | Ljubljana | Southern_Europe | Slovene | euro | Croatia
Croatia | Zagreb | Southern_Europe | Croatian | euro | Serbia Bosnia_and_Herzegovina Montenegro
Bosnia_and_Herzegovina | Sarajevo | Southern_Europe | Bosnian Croatian Serbian | convertible_mark | Serbia Montenegro
Serbia | Belgrade | Southern_Europe | Serbian | Serbian_dinar | North_Macedonia Montenegro
Montenegro | Podgorica | Southern_Europe | Montenegrin | euro | Albania
Albania | Tirana | Southern_Europe | Albanian | Albanian_lek | North_Macedonia Greece
North_Macedonia | Skopje | Southern_Europe | Macedonian Albanian | Macedonian_denar | Greece
Greece | Athens | Southern_Europe | Greek | euro | Turkey
Malta | Valletta | Southern_Europe | Maltese English | euro |
Cyprus | Nicosia | Western_Asia | Greek Turkish | euro |
Turkey | Ankara | Western_Asia | Turkish | Turkish_lira | Georgia Armenia Azerbaijan Iran Iraq Syria
Georgia | Tbilisi | Western_Asia | Georgian | lari | Armenia Azerbaijan
Armenia | Yerevan | Western_Asia | Armenian | Armenian_dram | Azerbaijan Iran
Azerbaijan | Baku | Western_Asia | Azerbaijani | Azerbaijani_manat | Iran
Syria | Damascus | Western_Asia | Arabic | Syrian_pound | Iraq Jordan Lebanon
Lebanon | Beirut | Western_Asia | Arabic | Lebanese_pound |
Jordan | Amman | Western_Asia | Arabic | Jordanian_dinar | Iraq Saudi_Arabia
Iraq | Baghdad | Western_Asia | Arabic Kurdish | Iraqi_dinar | Iran Kuwait Saudi_Arabia
Kuwait | Kuwait_City | Western_Asia | Arabic | Kuwaiti_dinar | Saudi_Arabia
Saudi_Arabia | Riyadh | Western_Asia | Arabic | Saudi_riyal | Yemen Oman Qatar United_Arab_Emirates
Yemen | - | Western_Asia | Arabic | Yemeni_rial | Oman
Oman | Muscat | Western_Asia | Arabic | Omani_rial | United_Arab_Emirates
Qatar | Doha | Western_Asia | Arabic | Qatari_riyal |
United_Arab_Emirates | Abu_Dhabi | Western_Asia | Arabic | Emirati_dirham |
Iran | Tehran | Southern_Asia | Persian | Iranian_rial | Turkmenistan Afghanistan Pakistan
Kazakhstan | Astana | Central_Asia | Kazakh Russian | tenge | China Kyrgyzstan Uzbekistan Turkmenistan
Kyrgyzstan | Bishkek | Central_Asia | Kyrgyz Russian | Kyrgyz_som | China Tajikistan Uzbekistan
Uzbekistan | Tashkent | Central_Asia | Uzbek | Uzbek_sum | Tajikistan Turkmenistan Afghanistan
Turkmenistan | Ashgabat | Central_Asia | Turkmen | Turkmen_manat | Afghanistan
Tajikistan | Dushanbe | Central_Asia | Tajik | somoni | Afghanistan China
Afghanistan | Kabul | Southern_Asia | Pashto Dari | afghani | Pakistan China
Pakistan | Islamabad | Southern_Asia | Urdu English | Pakistani_rupee | India China
India | New_Delhi | Southern_Asia | Hindi English | Indian_rupee | China Nepal Bhutan Bangladesh Myanmar
Nepal | Kathmandu | Southern_Asia | Nepali | Nepalese_rupee | China
Bhutan | Thimphu | Southern_Asia | Dzongkha | ngultrum | China
Bangladesh | Dhaka | Southern_Asia | Bengali | taka | Myanmar
China | Beijing | Eastern_Asia | Chinese | renminbi | Mongolia Myanmar Laos Vietnam North_Korea
Mongolia | Ulaanbaatar | Eastern_Asia | Mongolian | tugrik |
North_Korea | Pyongyang | Eastern_Asia | Korean | North_Korean_won | South_Korea
South_Korea | Seoul | Eastern_Asia | Korean | South_Korean_won |
Japan | Tokyo | Eastern_Asia | Japanese | yen |
Myanmar | Naypyidaw | South-eastern_Asia | Burmese | kyat | Laos Thailand
Laos | Vientiane | South-eastern_Asia | Lao | kip | Thailand Cambodia Vietnam
Thailand | Bangkok | South-eastern_Asia | Thai | baht | Cambodia Malaysia
Cambodia | Phnom_Penh | South-eastern_Asia | Khmer | riel | Vietnam
Vietnam | Hanoi | South-eastern_Asia | Vietnamese | dong |
Malaysia | Kuala_Lumpur | South-eastern_Asia | Malay | ringgit | Indonesia
Indonesia | - | South-eastern_Asia | Indonesian | rupiah |
Philippines | Manila | South-eastern_Asia | Filipino English | Philippine_peso |
Brazil | Brasilia | South_America_(region) | Portuguese | real | Uruguay Argentina Paraguay Bolivia Peru Colombia Venezuela
Argentina | Buenos_Aires | South_America_(region) | Spanish | Argentine_peso | Chile Bolivia Paraguay Uruguay
Chile | Santiago | South_America_(region) | Spanish | Chilean_peso | Peru Bolivia
Uruguay | Montevideo | South_America_(region) | Spanish | Uruguayan_peso |
Paraguay | Asuncion | South_America_(region) | Spanish Guarani | Paraguayan_guarani | Bolivia
Bolivia | Sucre | South_America_(region) | Spanish Quechua Aymara Guarani | boliviano | Peru
Peru | Lima | South_America_(region) | Spanish Quechua Aymara | sol | Ecuador Colombia
Ecuador | Quito | South_America_(region) | Spanish | US_dollar | Colombia
Colombia | Bogota | South_America_(region) | Spanish | Colombian_peso | Venezuela Panama
Venezuela | Caracas | South_America_(region) | Spanish | bolivar | Guyana
Guyana | Georgetown | South_America_(region) | English | Guyanese_dollar | Suriname Brazil
Suriname | Paramaribo | South_America_(region) | Dutch | Surinamese_dollar | Brazil
Panama | Panama_City | Central_America | Spanish | US_dollar | Costa_Rica
Costa_Rica | San_Jose | Central_America | Spanish | Costa_Rican_colon | Nicaragua
Nicaragua | Managua | Central_America | Spanish | cordoba | Honduras
Honduras | Tegucigalpa | Central_America | Spanish | lempira | El_Salvador Guatemala
El_Salvador | San_Salvador | Central_America | Spanish | US_dollar | Guatemala
Guatemala | Guatemala_City | Central_America | Spanish | quetzal | Mexico Belize
Belize | Belmopan | Central_America | English | Belize_dollar | Mexico
Mexico | Mexico_City | Central_America | Spanish | Mexican_peso | United_States
United_States | Washington | Northern_America | English | US_dollar | Canada
Canada | Ottawa | Northern_America | English French | Canadian_dollar |
Cuba | Havana | Caribbean | Spanish | Cuban_peso |
Haiti | Port-au-Prince | Caribbean | French Haitian_Creole | gourde | Dominican_Republic
Dominican_Republic | Santo_Domingo | Caribbean | Spanish | Dominican_peso |
Jamaica | Kingston | Caribbean | English | Jamaican_dollar |
"""

Fact = tuple[str, str, str]


def facts() -> list[tuple[list[Fact], bool]]:
    """Facts that are held out together or not at all, and whether they may be."""
    continent = {region: name for name, regions in CONTINENTS.items() for region in regions.split()}
    rows = [[cell.strip() for cell in line.split("|")] for line in COUNTRIES.strip().splitlines()]
    spoken = [language for row in rows for language in row[3].split()]
    names = {row[0] for row in rows}
    found: list[tuple[list[Fact], bool]] = [
        ([(region, "part_of", whole)], False) for region, whole in continent.items()
    ]
    for country, capital, region, languages, money, neighbours in rows:
        if capital != "-":
            found += [([(capital, "capital_of", country)], False), ([(capital, "city_in", region)], True)]
        found += [([(country, "located_in", region)], False), ([(country, "on_continent", continent[region])], True)]
        found += [([(country, "official_language", one)], spoken.count(one) > 3) for one in languages.split()]
        found += [([(country, "currency", money)], False)] if money != "-" else []
        for other in neighbours.split():
            assert other in names, other
            found.append(([(country, "borders", other), (other, "borders", country)], True))
    return found


def main(folder: Path) -> None:
    """Writes the three splits."""
    splits: dict[str, list[Fact]] = {"train": [], "validation": [], "test": []}
    place = 0
    for together, free in facts():
        place += free
        splits[{3: "validation", 8: "test"}.get(place % 10, "train") if free else "train"] += together
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        assert len(set(rows)) == len(rows)
        columns = dict(zip(("head", "relation", "tail"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), folder / f"{split}.parquet", compression="zstd")
        print(f"{split}: {len(rows):,} facts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
