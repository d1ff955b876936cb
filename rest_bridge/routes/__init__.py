"""One file per ComfyUI URL; `ENDPOINTS` is all of them."""

from __future__ import annotations

from rest_bridge.bridge import Endpoint
from rest_bridge.routes import (
    embeddings,
    extensions,
    features,
    free,
    history,
    history_entry,
    index,
    interrupt,
    models,
    models_folder,
    object_info,
    object_info_entry,
    prompt,
    queue,
    settings,
    settings_entry,
    system_stats,
    upload_image,
    upload_mask,
    userdata,
    userdata_file,
    userdata_move,
    userdata_v2,
    users,
    view,
    view_metadata,
    ws,
)

ENDPOINTS: tuple[Endpoint, ...] = tuple(
    module.ENDPOINT
    for module in (
        embeddings,
        extensions,
        features,
        free,
        history,
        history_entry,
        index,
        interrupt,
        models,
        models_folder,
        object_info,
        object_info_entry,
        prompt,
        queue,
        system_stats,
        upload_image,
        users,
        userdata_v2,
        userdata_move,
        userdata_file,
        userdata,
        settings_entry,
        settings,
        upload_mask,
        view,
        view_metadata,
        ws,
    )
)
