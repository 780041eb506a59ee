import pytest

from calip_core.backbones.names import backbone_label


@pytest.mark.parametrize(
    ("backbone", "label"),
    [
        ("ViT-B/32", "ViT-B/32"),
        ("open_clip:ViT-B-32/laion", "open_clip:ViT-B-32/laion"),
        ("open_clip:ViT-B-32/laion2b", "open_clip:ViT-B-32/laion2b"),
        ("ViT-L/14@336px", "ViT-L/14@336px"),
        ("/a/long/way/my.pt", "my.pt"),
        ("/somewhere/else/model.pt", "model.pt"),
    ],
)
def test_a_path_is_labelled_by_its_file(backbone: str, label: str) -> None:
    assert backbone_label(backbone) == label
