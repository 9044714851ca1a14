from qwen_image_studio.__main__ import main

main()
