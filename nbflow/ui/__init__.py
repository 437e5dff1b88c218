"""LOOK: pure functions from views to pictures, tables and text.

Nothing here reads a clock, a store or the environment. A surface fetches a view of :mod:`nbflow.views`, passes it with
`now`, and shows what it gets back.

    state_colors  the state colours and glyphs, read from the files that browsers read too
    formatting    durations, relative times, state counts: one wording for all views
    escaping      the one way from data into HTML and SVG
    text_width    how wide a text will be, and where to cut it
    layout        the layered graph layout
    scene         folded groups, cut labels and geometry: what pictures and widgets share
    svg           the graph picture; charts: grid, gantt, timeline
    tables        one table model, written as HTML and as aligned text
    html          cards, lists, errors; each returns a `Bundle`
    mime_bundle   what a cell's output holds
    js_bundle     the browser code of js/ as the single module that a widget needs
    live          the live graph, and the one thread that owns all widgets
    widgets       the anywidget of the live graph (needs the lab extra)
"""
