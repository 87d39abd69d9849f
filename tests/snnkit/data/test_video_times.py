"""Frames of videos by number: what a seek finds is what is decoded in order, and what was shown at that time.

Each picture holds its number in bits, as light and dark squares. Would break it: frames counted at another rate than
they are put out at, a rate told to two places, a container whose seeks, times or length are guesses, a first frame that
is not at 0 s, a seek that lands on the key frame after the frame.
"""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from snnkit.data.video_folder import read_frames, read_scaled, video_info

BITS, ROW, SQUARE = 16, 4, 8
SIDE = ROW * SQUARE
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
MPEG = ("-q:v", "2", "-bf", "2")
NTSC = Fraction(24000, 1001)


def numbered(path, frames, rate, *options):
    """A video whose frame n shows n: square k is light where bit k of n is 1."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no encoder: pip install imageio-ffmpeg").get_ffmpeg_exe()
    bits = (np.arange(frames)[:, None] >> np.arange(BITS) & 1).astype(np.uint8) * 255
    squares = bits.reshape(frames, ROW, ROW).repeat(SQUARE, 1).repeat(SQUARE, 2)
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-r", str(rate), "-i", "-"]
    command = [ffmpeg, "-loglevel", "error", *source, *options, str(path)]
    subprocess.run(command, input=squares.tobytes(), check=True, capture_output=True)
    return str(path)


def numbers(clip):
    """The number that each frame shows."""
    squares = clip.float().mean(1).unflatten(-1, (ROW, SQUARE)).unflatten(-3, (ROW, SQUARE)).mean((-3, -1))
    return [sum(1 << bit for bit in range(BITS) if frame[bit] > 127) for frame in squares.flatten(1)]


def check(path, info, expected):
    """In order, and by seeks to places that are no key frames, just before them, and at the ends."""
    assert numbers(read_frames(path, list(range(len(expected))), info)) == expected
    for first in (1, 28, 59, 60, 61, 97, len(expected) - 2):
        assert numbers(read_frames(path, [first, first + 1], info)) == expected[first : first + 2], first


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("a.mp4", 25, (*H264, "-x264-params", "open-gop=1:keyint=20:bframes=3")),
        ("every_frame_is_a_key_frame.mp4", NTSC, (*H264, "-g", "1")),
        ("shifted.mp4", 25, (*H264, "-output_ts_offset", "1.3")),
        ("a.mkv", Fraction(30000, 1001), (*H264, "-g", "20")),
        ("shifted.mkv", 25, (*H264, "-g", "20", "-output_ts_offset", "1.3")),
        ("a.mov", 60, H264),
        ("a.webm", 30, ("-c:v", "libvpx", "-b:v", "1M", "-deadline", "realtime")),
        ("a.avi", 25, ("-c:v", "mpeg4", *MPEG)),
        ("a.mpg", 25, ("-c:v", "mpeg2video", *MPEG)),
        ("odd_rate.mpg", Fraction(30000, 1001), ("-c:v", "mpeg1video", *MPEG)),
        ("stream.mpg", 25, (*H264, "-f", "mpegts")),
    ],
)
def test_frame_n_is_the_nth_stored_one_however_it_is_reached(tmp_path, name, rate, options):
    path = numbered(tmp_path / name, 120, rate, *options)
    info = video_info(path)
    assert info[:4] == (120, rate, SIDE, SIDE)
    check(path, info, list(range(120)))


def test_a_rate_of_three_places_does_not_drift(tmp_path):
    """At 23.98 a second, frame 5990 would be 5990 · (1 - 23.976 / 23.98) = 1 frame early."""
    path = numbered(tmp_path / "a.mp4", 6000, NTSC, *H264)
    info = video_info(path)
    assert info[:2] == (6000, NTSC)
    assert numbers(read_frames(path, [5990, 5991, 5999], info)) == [5990, 5991, 5999]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_of_variable_rate_is_shown_at_its_times(tmp_path, name):
    """100 frames of 1/25 s, 100 of 3/25 s: its frames are at numbers round(time · fps), shown until the next."""
    slower = ("-vf", "setpts='if(lt(N,100),N,100+(N-100)*3)'", "-fps_mode", "vfr")
    path = numbered(tmp_path / name, 200, 25, *H264, "-g", "20", *slower)
    info = video_info(path)
    assert info.total / info.fps == pytest.approx(16.0, abs=0.3)
    times = [Fraction(n if n < 100 else 100 + (n - 100) * 3, 25) for n in range(200)]
    places = [round(time * info.fps) for time in times]
    expected = [sum(place <= n for place in places) - 1 for n in range(info.total - 5)]
    assert expected[-1] > 190
    check(path, info, expected)


def test_the_first_frames_scaled_are_those_of_their_numbers(tmp_path):
    path = numbered(tmp_path / "shifted.mkv", 30, 25, *H264, "-output_ts_offset", "1.3")
    frames = read_scaled(path, SIDE, 12)
    assert numbers(frames) == list(range(12))
