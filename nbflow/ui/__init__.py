"""Rendering: pure functions from views to SVG, HTML, tables and text.

No function here reads a clock, a store or the environment. A surface fetches a view of :mod:`nbflow.views`, passes it
with `now`, and shows the result.

    formatting     durations, relative times and state counts as text, the same in all views
    escaping       escaping of data in HTML and SVG
    text_width     estimated width of a text, and where to truncate it
    layout         the layered graph layout
    scene          folded groups, truncated labels and geometry, shared by pictures and widgets
    svg            the graph as a picture
    run_charts     grid, gantt and timeline
    tables         one table model, rendered as HTML and as aligned text
    view_bundles   cards, lists, errors; each function returns a `Bundle`
    admin_bundles  the same for status, pools, variables and connections
    mime_bundle    the MIME bundle of a cell's output
    js_bundler     the modules of js/ bundled into the single module that a widget needs
    live           the live graph, and the thread that owns all widgets
    widgets        the anywidget of the live graph (needs the lab extra)
"""
