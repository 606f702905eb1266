"""How a lesson's picture gets into the run's folder, in the language that the run speaks."""

import re
from pathlib import Path
from typing import Any

from gradloop.callbacks.publishing import publish

KOREAN = {  # a text, or a pattern of the whole of it
    # lesson 1
    r"by hand: x \+ 1": r"손으로 구한 식: x + 1",
    r"y = mean\((.+)\) over four x, four times": r"y = mean(\1), x는 네 개씩 네 번",
    r"batch (\w)": r"배치 \1",
    r"A, then B without zero_grad\(\)": r"zero_grad() 없이 A 다음에 B",
    r"the same / 2 \((.+)\)": r"그 합 / 2 (\1)",
    r"A and B as one batch": r"A와 B를 한 배치로",
    r"gradient": r"기울기",
    r"Two batches of 8, and the batch of 16": r"크기 8인 배치 두 개와 크기 16인 배치",
    # lesson 2
    r"data": r"데이터",
    r"learned: (.+)": r"학습된 직선: \1",
    r"least squares: (.+)": r"최소제곱: \1",
    r"the line after training": r"훈련이 끝난 뒤의 직선",
    r"mean squared error": r"평균제곱오차",
    r"path, epoch by epoch": r"에폭마다의 경로",
    r"start": r"시작",
    r"end": r"끝",
    r"lowest mean squared error": r"가장 낮은 평균제곱오차",
    r"weight w": r"가중치 w (직선의 기울기)",
    r"bias b": r"편향 b (절편)",
    r"the way down": r"내려가는 길",
    # lesson 3
    r"activation a\(z\)": r"활성화 함수 a(z)",
    r"regression loss of the error (.+)": r"오차 \1의 회귀 손실",
    r"loss of the logit z for the true class": r"정답 클래스의 로짓 z에 대한 손실",
    r"its derivative": r"그 도함수",
    r"value": r"값",
    r"derivative": r"도함수",
    r"error (.+)": r"오차 \1",
    r"logit z": r"로짓 z",
    r"¼, sigmoid's most": r"¼ (sigmoid 최대)",
    r"cross-entropy: (.+)": r"교차 엔트로피: \1",
    r"squared error of (.+)": r"\1의 제곱 오차",
    r"gradient norm": r"기울기의 크기",
    r"size of a step": r"한 단계의 크기",
    r"dead ReLUs": r"죽은 ReLU",
    r"share of units that are 0 on a whole batch": r"배치 전체에서 0인 유닛의 비율",
    r"optimizer step": r"최적화 단계",
    r"rule of thumb: (.+)": r"경험칙: \1",
    r"layer": r"층",
    r"layer \(1 of (\d+) named\)": r"층 (\1개마다 하나씩)",
    # lesson 4
    r"as they are": r"원본",
    r"in epoch (\d+)": r"에폭 \1",
    r"Training pictures before and after augmentation": r"증강 전과 후의 훈련 그림",
    r"Training pictures before and after augmentation; outlined: what Cutout blanks":
        r"증강 전과 후의 훈련 그림 (테두리: Cutout이 지운 곳)",
    # lesson 5
    r"probability of the true class, best epoch in memory": r"정답 클래스의 확률, 메모리의 가장 좋은 에폭",
    r"the same, from best.ckpt": r"같은 확률, best.ckpt에서",
    r"largest difference: (.+)": r"가장 큰 차이: \1",
    r"answer": r"답",
    r"right": r"맞음",
    r"wrong": r"틀림",
    r"says (.+), is (.+)": r"답 \1, 정답 \2",
    r"(\d+) of (\d+) test pictures right; the wrong ones first": r"시험 그림 \2장 중 \1장 맞음 (틀린 것부터)",
    # lesson 6
    r"test pictures; below: \|∂ score of the class it says / ∂ pixel\| \(bright: large\)":
        r"시험 그림. 아래: |∂ 답한 클래스의 점수 / ∂ 픽셀| (밝을수록 큼)",
    r"most salient pixels first": r"가장 현저한 픽셀부터",
    r"least salient pixels first": r"가장 덜 현저한 픽셀부터",
    r"guessing": r"찍을 때",
    r"pixels blanked": r"지운 픽셀 수",
    r"accuracy": r"정확도",
    r"What is lost without those pixels": r"그 픽셀이 없으면 잃는 것",
}  # fmt: skip


def show_lesson(figure: Any, trainer: Any, run: Any, folder: Path) -> None:
    """Write `lesson.png` and show it in TensorBoard."""
    translate(figure, run)
    publish(figure, trainer, folder / "lesson.png", "lesson")


def translate(figure: Any, run: Any) -> None:
    """Put the Korean in place of every text of a figure that is in the table, if that is the run's language."""
    if run.values.get("lang") != "ko":
        return
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        for pattern, korean in KOREAN.items():
            if found := re.fullmatch(pattern, text.get_text()):
                text.set_text(found.expand(korean))
                break
