from tools.browser import main

main()
