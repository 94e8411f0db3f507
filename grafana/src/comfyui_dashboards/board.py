"""What all dashboards have in common: variables, links to each other, annotations, defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from comfyui_dashboards.colours import CRITICAL, RESTART, WARNING
from comfyui_dashboards.layout import Shelf, place
from comfyui_dashboards.queries import ID, SOURCE, of_alerts, of_server

TAG = "comfyui"
SCHEMA = 38
"""That of Grafana 10.1, which later ones migrate by themselves."""

ANY = ".+"
"""What a variable stands for while all is chosen: shorter than every name, and what appears later is in it."""

EXPORTER_URL = "http://127.0.0.1:9188"
"""Where the reader's browser finds the exporter. `?var-exporter_url=` of a dashboard changes it."""


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    shelves: Sequence[Shelf]
    job_types: bool = True
    """Whether job types can be chosen."""
    job_links: bool = False
    """Whether something on it leads to the exporter's page of a job."""
    refresh: str = "30s"

    def build(self) -> Dashboard:
        """Put it together."""
        builder = (
            builders.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags([TAG])
            .time("now-1h", "now")
            .timezone("browser")
            .refresh(self.refresh)
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .variables(_variables(job_types=self.job_types, job_links=self.job_links))
            .annotations(_annotations())
            .link(_links())
        )
        made = builder.build()
        made.panels = place(self.shelves)
        made.schema_version = SCHEMA
        # Else new versions of Grafana hide them in a menu.
        for annotation in made.annotations.list_val or []:
            annotation.placement = None  # type: ignore[assignment]
        for link in made.links or []:
            link.placement = None  # type: ignore[assignment]
        return made


def _variables(*, job_types: bool, job_links: bool) -> list[Builder[VariableModel]]:
    chosen: list[Builder[VariableModel]] = [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("job", "Scrape job", "label_values(comfyui_exporter_servers, job)"),
        _choice("instance", "Exporter", 'label_values(comfyui_exporter_servers{job=~"$job"}, instance)'),
        # There for every server that is watched, whether it has ever answered or not.
        _choice(
            "server",
            "Server",
            'label_values(comfyui_exporter_event_stream_connected{job=~"$job", instance=~"$instance"}, server)',
        ),
    ]
    if job_types:
        known = of_server("comfyui_jobs_submitted_total")
        chosen.append(_choice("job_type", "Job type", f"label_values({known}, job_type)"))
    if job_links:
        url = VariableOption(text=EXPORTER_URL, value=EXPORTER_URL)
        text = builders.TextBoxVariable("exporter_url").label("Links to jobs begin with")
        chosen.append(text.default_value(EXPORTER_URL).current(url).options([url]))
    return chosen


def _choice(name: str, label: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .definition(query)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(ANY)
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _annotations() -> list[Builder[AnnotationQuery]]:
    counted = of_server("comfyui_restarts_total")
    restarts = f"max by ({ID}) ({counted}) > max by ({ID}) ({counted} offset $__interval)"
    return [
        _annotation("Restarts", RESTART, restarts, "ComfyUI restarted", "{{server}}", step="15s"),
        _annotation("Critical alerts", CRITICAL, _began("critical"), "{{alertname}}", "{{server}} {{instance}}"),
        _annotation("Warnings", WARNING, _began("warning"), "{{alertname}}", "{{server}} {{instance}}"),
    ]


def _began(severity: str) -> str:
    firing = of_alerts("ALERTS", 'alertstate="firing"', f'severity="{severity}"')
    by = f"max by (alertname, {ID})"
    return f"{by} ({firing}) unless {by} ({firing} offset $__interval)"


def _annotation(
    name: str, colour: str, expr: str, title: str, text: str, *, step: str = "60s"
) -> builders.AnnotationQuery:
    annotation = builders.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(colour)
    return annotation.expr(expr).step(step).title_format(title).text_format(text)


def _links() -> builders.DashboardLink:
    """Give the other dashboards, as they look at the same servers in the same hours."""
    link = builders.DashboardLink("ComfyUI").type(DashboardLinkType.DASHBOARDS).tags([TAG]).icon("external link")
    return link.as_dropdown(as_dropdown=False).include_vars(include_vars=True).keep_time(keep_time=True)
