from jobs.sandbox.launch import main

main()
