"""The look of nbflow: pure functions from view models to pictures, tables and text.

Nothing here reads a clock, a store or the environment. A surface (notebook, web, CLI) fills the dataclasses of
`viewmodel` from the store's queries, passes `now`, and shows what it gets back.

    viewmodel   what a view shows, as frozen values
    look        the state colours and glyphs, read from the files that browsers read too
    words       durations, relative times, state counts: one wording for all views
    markup      the one way from data into HTML and SVG
    metrics     how wide a text will be, and where to cut it
    layout      the layered graph layout; scene: folded groups, cut labels and geometry, what pictures and widgets share
    svg         the graph picture; charts: grid, gantt, timeline
    tables      one table model, written as HTML and as aligned text
    html        cards, lists, errors; each returns a `Bundle`
    bundle      what a cell's output holds
    esm         the browser code of js/ as the single module that a widget needs
    live        the live graph, and the one thread that owns all widgets
    widgets     the anywidget of the live graph (needs the lab extra)
"""
