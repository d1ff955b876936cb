"""A pack of the V3 schema."""

import asyncio

from comfy_api.latest import ComfyExtension, io, ui


class Repeat(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ModernRepeat",
            display_name="Repeat (modern)",
            category="modern",
            inputs=[
                io.String.Input("text", multiline=True, default="a"),
                io.Int.Input("times", default=2, min=1, max=9, tooltip="How often"),
                io.Combo.Input("glue", options=["-", "+"]),
                io.Image.Input("image", optional=True),
            ],
            outputs=[io.String.Output(display_name="repeated"), io.Int.Output(is_output_list=True)],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, times, glue):
        return "no five" if times == 5 else True

    @classmethod
    def execute(cls, text, times, glue, image=None):
        return io.NodeOutput(glue.join([text] * times) + cls.hidden.unique_id, list(range(times)))


class Shown(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ModernShown", is_output_node=True, inputs=[io.MultiType.Input("value", [io.String, io.Int])]
        )

    @classmethod
    async def execute(cls, value):
        await asyncio.sleep(0)
        return io.NodeOutput(ui=ui.PreviewText(str(value)))


class Modern(ComfyExtension):
    async def get_node_list(self):
        return [Repeat, Shown]


async def comfy_entrypoint():
    return Modern()
