#include <iostream>

#include "numbers/numbers.h"

int main() {
    for (int n : {5, 10}) {
        std::cout << n << "! = " << numbers::factorial(n) << '\n';
    }
    for (int n : {10, 20}) {
        std::cout << "F(" << n << ") = " << numbers::fibonacci(n) << '\n';
    }
    std::cout << "primes up to 50:";
    for (int prime : numbers::primes(50)) {
        std::cout << ' ' << prime;
    }
    std::cout << '\n';
}
