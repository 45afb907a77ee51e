// Exits with 1, and says which, when a value is wrong.
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "numbers/numbers.h"

namespace {

int failures = 0;

template <typename Value>
void expect(const std::string& what, const Value& found, const Value& wanted) {
    const bool right = found == wanted;
    failures += right ? 0 : 1;
    std::cout << (right ? "ok      " : "WRONG   ") << what << '\n';
}

bool refuses(int n) {
    try {
        numbers::factorial(n);
    } catch (const std::out_of_range&) {
        return true;
    }
    return false;
}

}  // namespace

int main() {
    using Number = std::uint64_t;
    expect<Number>("0! = 1", numbers::factorial(0), 1);
    expect<Number>("5! = 120", numbers::factorial(5), 120);
    expect<Number>("10! = 3628800", numbers::factorial(10), 3628800);
    expect("21! does not fit", refuses(21), true);
    expect<Number>("F(0) = 0", numbers::fibonacci(0), 0);
    expect<Number>("F(10) = 55", numbers::fibonacci(10), 55);
    expect<Number>("F(20) = 6765", numbers::fibonacci(20), 6765);
    expect("primes up to 20", numbers::primes(20), {2, 3, 5, 7, 11, 13, 17, 19});
    expect("no primes up to 1", numbers::primes(1), {});
    return failures == 0 ? 0 : 1;
}
