"""A pack that is one file, with one good class and one that is none."""


class Single:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True, "default": "x"})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "single"
    count = 0

    def run(self, text):
        self.count += 1  # an instance stays with its node
        return (f"{text}{self.count}",)


class NoFunction:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ()


NODE_CLASS_MAPPINGS = {"SingleText": Single, "SingleNone": NoFunction}
