from calip_core.teaching import output


def test_prose_is_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(output, "display", lambda data: shown.append(data.data))
    output.prose("It is **3.1**.")
    assert shown == ["It is **3.1**."]
